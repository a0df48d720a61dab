#!/usr/bin/env bash
# cargo's test runner (see test.sh): cargo builds as the user, the test executable runs as root.
set -euo pipefail
. "$(dirname "$0")/common.sh"
as_root "$@"
