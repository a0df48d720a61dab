#!/usr/bin/env bash
# A service over three pods on two nodes that know each other through etcd: balanced, and not one connect fails while a pod is deleted and
# a server killed; the way out to a namespace that plays the Internet, and the ways in from there.
# Every output is checked. Nothing stays behind, however it ends.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

build_first "$@"
. scripts/demo-lib.sh

settings() { printf '[ingress]\nenabled = false\n'; }

begin
heading "A wire, etcd on it, and the Internet behind it"
begin_before_internet vpds settings

heading "Three web pods on two nodes, each with a page of its own, and a client"
for pod in web-1:vpds1 web-2:vpds1 web-3:vpds2; do
    node=${pod#*:} name=${pod%:*}
    www="${dir_of[$node]}/$name"
    mkdir -p "$www"
    echo "$name" >"$www/index.html"
    show_on "$node" create-pod "$name" -l app=web -- \
        /usr/bin/python3 -u -m http.server 8080 --directory "$www"
done
show_on vpds1 create-pod client

heading "A service over them, for everybody inside and outside"
cat >"${dir_of[vpds1]}/web.yaml" <<MANIFEST
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  type: LoadBalancer
  loadBalancerIP: $balancer
  selector:
    app: web
  ports:
    - port: 80
      targetPort: 8080
      nodePort: 30080
MANIFEST
show cat "${dir_of[vpds1]}/web.yaml"
show_on vpds1 apply -f "${dir_of[vpds1]}/web.yaml"
three() { [ "$(on vpds1 vpodctl get endpoints web -o json | jq '[.subsets[]?.addresses[]?] | length')" = 3 ]; }
for _ in $(seq 100); do
    if three; then break; fi
    sleep 0.1
done
show_on vpds1 get endpoints web
show_on vpds2 get services
expect 'web +LoadBalancer'
vip=$(on vpds1 vpodctl get service web -o json | jq -r .spec.clusterIP)

heading "Sixty requests of the client: all three pods answer"
# fetches NAMESPACE HOST COUNT: who answered how often.
fetches() {
    local script="for i in \$(seq $3); do curl -sS --max-time 5 http://$2/ || echo FAILED; done | sort | uniq -c"
    show ip netns exec "$1" sh -c "$script"
}
fetches vpds1-default.client "$vip" 60
for name in web-1 web-2 web-3; do expect "$name"; done
if grep -q FAILED <<<"$output"; then fail "a request failed"; fi

heading "By name: each node's vpod-dns answers its own pods, at the address of their resolv.conf"
ready_dns() { on vpds1 vpodctl get pods -n kube-system -l k8s-app=kube-dns -o json | jq -e '.items[0].status.conditions[0].status == "True"' >/dev/null; }
for _ in $(seq 200); do
    if ready_dns; then break; fi
    sleep 0.1
done
ready_dns || fail "vpod-dns is not ready"
show_on vpds1 get pods -n kube-system
show_on vpds1 get service kube-dns -n kube-system
show_on vpds1 exec client -- cat /etc/resolv.conf
for name in web web.default web.default.svc.cluster.local; do
    within 10 ip netns exec vpds1-default.client getent hosts "$name" || fail "$name does not resolve"
    show_on vpds1 exec client -- getent hosts "$name"
    expect "$vip"
done
show_on vpds1 exec client -- curl -sS --max-time 5 http://web/
expect 'web-[123]'
show_on vpds1 dns query web --from client
expect "cluster address $vip"

heading "A pod is deleted and another one's server killed, while the client goes on connecting"
# Until its node has said so, the killed one refuses: the switch then offers the first packet to another one.
cat >"${dir_of[vpds1]}/connects.py" <<'PYTHON'
import collections, socket, sys, time
connects = failed = 0
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    try:
        with socket.create_connection((sys.argv[1], 80), timeout=5):
            connects += 1
    except OSError as error:
        failed += 1
        print("connect:", error)
    time.sleep(0.002)
print(f"{connects} connects, {failed} failed")
PYTHON
announce vpds1 vpodctl exec client -- python3 "${dir_of[vpds1]}/connects.py" "$vip" 5
on vpds1 vpodctl exec client -- python3 "${dir_of[vpds1]}/connects.py" "$vip" 5 >"${dir_of[vpds1]}/connects" 2>&1 &
connecting=$!
sleep 1
show_on vpds1 delete-pod web-1
sleep 1
announce vpds2 "kill -KILL (the server of web-3)"
ip netns pids vpds2-default.web-3 | xargs kill -KILL
wait "$connecting"
show cat "${dir_of[vpds1]}/connects"
expect '^[0-9]+ connects, 0 failed'
fetches vpds1-default.client "$vip" 20
expect 'web-2'
if grep -q FAILED <<<"$output"; then fail "a request failed"; fi

heading "Out: the Internet sees the node's address, not the pod's"
cat >"${dir_of[vpds1]}/who.py" <<'PYTHON'
import http.server, sys
class Who(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"you are {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer((sys.argv[1], 80), Who).serve_forever()
PYTHON
ip netns exec vpdsw setsid python3 "${dir_of[vpds1]}/who.py" "$internet" >/dev/null 2>&1 </dev/null &
disown
within 5 ip netns exec vpdsw curl -sf "http://$internet/" || fail "the Internet does not answer itself"
show_on vpds1 exec client -- curl -sS --max-time 5 "http://$internet/"
expect "you are $underlay.1"
show_on vpds2 create-pod far
show_on vpds2 exec far -- curl -sS --max-time 5 "http://$internet/"
expect "you are $underlay.2"
show_on vpds1 exec client -- ping -c 2 -i 0.2 "$internet"
expect ' 0% packet loss'

heading "In: a node port of either node, and the load balancer's address"
show ip netns exec vpdsw curl -sS --max-time 5 "http://$underlay.1:30080/"
expect 'web-[23]'
show ip netns exec vpdsw curl -sS --max-time 5 "http://$underlay.2:30080/"
expect 'web-[23]'
show ip netns exec vpdsw curl -sS --max-time 5 "http://$balancer/"
expect 'web-[23]'
show_on vpds1 get services -o wide

finished=true
if $keep; then
    cat <<NEXT

${blue}# Left running. Try next:${plain}
  export PATH=$programs:\$PATH VPOD_SOCKET=$(socket_of vpds1)
  vpodctl describe service web
  vpodctl get conntrack
  vpodctl trace client --to $vip:80
  ip netns exec vpdsw curl http://$balancer/
The daemons' logs: ${DEMO_DIR_GLOB}$$.*/vswitchd.log
Stop and remove everything with: scripts/cleanup.sh --demo
NEXT
else
    heading "Done"
fi
