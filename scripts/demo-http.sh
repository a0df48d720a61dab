#!/usr/bin/env bash
# HTTP from outside: an ingress on each of two nodes, led to by a load balancer's address; two hosts and two paths over HTTP and HTTPS, with
# certificates by name, and not one request fails while pods are replaced, routes change and the ingress itself is started anew.
# Every output is checked. Nothing stays behind, however it ends.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

build_first "$@"
. scripts/demo-lib.sh

# Each node has a copy of the program, so that it can be replaced.
settings() {
    cp "$programs/vpod-ingress" "${dir_of[$1]}/"
    printf '[ingress]\nprogram = "%s/vpod-ingress"\n' "${dir_of[$1]}"
}

begin
heading "A wire, etcd on it, and the Internet behind it; the ingress runs in a system pod of each node"
begin_before_internet vpdh settings

heading "Pods with pages of their own on both nodes, services over them"
# Says who it is, what it was asked and by whom.
cat >"${dir_of[vpdh1]}/page.py" <<'PYTHON'
import http.server, signal, sys, threading
class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one write, or the body waits for the client's acknowledgement.
    wbufsize = -1
    def do_GET(self):
        client = self.headers.get("X-Forwarded-For", "nobody")
        body = f"{sys.argv[1]}: {self.headers.get('Host')}{self.path} for {client}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("", 8080), Page)
# Told to end, it serves on for a while, as programs in pods should.
signal.signal(signal.SIGTERM, lambda *_: threading.Timer(2, server.shutdown).start())
server.serve_forever()
PYTHON
page() { show_on "$1" create-pod "$2" -l "app=$3" --readiness-tcp 8080 --readiness-period 1 -- /usr/bin/python3 "${dir_of[vpdh1]}/page.py" "$2"; }
page vpdh1 shop-1 shop
page vpdh2 shop-2 shop
page vpdh2 cart-1 cart
page vpdh1 blog-1 blog
for name in shop cart blog; do
    show_on vpdh1 create-service clusterip "$name" --tcp 80:8080
done
show_on vpdh1 create-pod client

heading "A certificate, and an Ingress: two hosts, two paths"
readonly authority="${dir_of[vpdh1]}/shop.crt"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=shop.example" \
    -addext "subjectAltName=DNS:shop.example" -keyout "${dir_of[vpdh1]}/shop.key" -out "$authority" 2>/dev/null
(
    umask 077
    printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: shop-tls}\ntype: kubernetes.io/tls\ndata:\n  tls.crt: %s\n  tls.key: %s\n' \
        "$(base64 -w0 "$authority")" "$(base64 -w0 "${dir_of[vpdh1]}/shop.key")" >"${dir_of[vpdh1]}/secret.yaml"
)
show_on vpdh1 apply -f "${dir_of[vpdh1]}/secret.yaml"
ingress() {
    cat <<MANIFEST
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: $1
spec:
  tls:
    - {hosts: [shop.example], secretName: shop-tls}
  rules:
    - host: shop.example
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}
          - {path: /cart, pathType: Prefix, backend: {service: {name: cart, port: {number: 80}}}}
    - host: blog.example
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: blog, port: {number: 80}}}}
MANIFEST
}
ingress web >"${dir_of[vpdh1]}/web.yaml"
show cat "${dir_of[vpdh1]}/web.yaml"
show_on vpdh1 apply -f "${dir_of[vpdh1]}/web.yaml"

# fetch NAMESPACE WORDS… URL: with every name at the ingress's address, as the Internet's DNS would say.
fetch() {
    local place=$1
    shift
    show ip netns exec "$place" curl -sS --max-time 5 --connect-to "::$balancer:" "$@"
}
serves() { within 20 ip netns exec vpdhw curl -sSf --max-time 5 --connect-to "::$balancer:" "$@"; }
serves http://blog.example/ || fail "the ingress does not serve"
serves --cacert "$authority" https://shop.example/cart || fail "the ingress does not serve HTTPS"
show_on vpdh1 get pods -n kube-system -o wide
show_on vpdh2 get service vpod-ingress -n kube-system
expect "$balancer"
show_on vpdh1 get ingress
expect "web .*$balancer +80, 443"
show_on vpdh1 describe ingress web

heading "From the Internet: two hosts, two paths, and it is seen who asks"
for path in / /posts; do
    fetch vpdhw "http://blog.example$path"
    expect "blog-1: blog.example$path for $underlay.254"
done
# Where there is TLS, HTTP leads to it.
fetch vpdhw -D - -o /dev/null http://shop.example/
expect 'HTTP/1.1 308'
expect 'https://shop.example/'
fetch vpdhw -L --cacert "$authority" http://shop.example/cart
expect "cart-1: shop.example/cart for $underlay.254"
fetch vpdhw --cacert "$authority" https://shop.example/
expect "shop-[12]: shop.example/ for $underlay.254"
fetch vpdhw --cacert "$authority" --http2 -w '%{http_version}\n' https://shop.example/cart
expect "cart-1: shop.example/cart for $underlay.254"
expect '^2$'
# Nobody has a certificate for this host: it gets the ingress's own, which nobody signed.
fetch vpdhw -k https://blog.example/posts
expect "blog-1: blog.example/posts for $underlay.254"
fetch vpdhw -o /dev/null -w '%{http_code}\n' http://nobody.example/
expect '^404$'

heading "From a pod: the same address, and the services by their names"
fetch vpdh1-default.client --cacert "$authority" https://shop.example/
client=$(on vpdh1 vpodctl get pod client -o json | jq -r '.status.podIP // .spec.podIPs[0]')
expect "shop-[12]: shop.example/ for $client"
within 20 ip netns exec vpdh1-default.client getent hosts shop || fail "shop does not resolve"
for name in shop shop.default.svc.cluster.local; do
    show_on vpdh1 exec client -- curl -sS --max-time 5 "http://$name/"
    expect "shop-[12]: $name/ for nobody"
done

heading "Pods are replaced, routes change and an ingress is started anew, while the Internet goes on asking"
cat >"${dir_of[vpdh1]}/asks.py" <<'PYTHON'
import collections, http.client, sys, time
seen, failed, until = collections.Counter(), 0, time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    try:
        connection = http.client.HTTPConnection(sys.argv[1], 80, timeout=10)
        connection.request("GET", "/", headers={"Host": "blog.example"})
        answer = connection.getresponse()
        body = answer.read().decode()
        if answer.status != 200:
            raise OSError(f"{answer.status} {body}")
        seen[body.split(":")[0]] += 1
    except (OSError, http.client.HTTPException) as error:
        failed += 1
        print("request:", error)
    finally:
        connection.close()
    time.sleep(0.002)
print(f"{sum(seen.values())} requests, {failed} failed; answered by {', '.join(sorted(seen))}")
PYTHON
announce vpdhw python3 "${dir_of[vpdh1]}/asks.py" "$balancer" 8
ip netns exec vpdhw python3 "${dir_of[vpdh1]}/asks.py" "$balancer" 8 >"${dir_of[vpdh1]}/asks" 2>&1 &
asking=$!
page vpdh2 blog-2 blog
on vpdh1 within 10 sh -c "vpodctl get endpoints blog -o json | jq -e '[.subsets[]?.addresses[]?] | length == 2'" ||
    fail "blog-2 is not ready"
# Until it has had some of the requests.
sleep 0.5
show_on vpdh1 delete-pod blog-1
for name in one two three; do
    ingress "$name" | sed "s/shop.example/$name.example/; s/blog.example/$name-blog.example/; /tls:/,/secretName/d" >"${dir_of[vpdh1]}/more.yaml"
    show_on vpdh2 apply -f "${dir_of[vpdh1]}/more.yaml"
done
# Another program, as at an upgrade: each ingress gets a successor, which takes its listeners over.
for node in vpdh1 vpdh2; do
    show cp "$programs/vpod-ingress" "${dir_of[$node]}/new"
    show mv "${dir_of[$node]}/new" "${dir_of[$node]}/vpod-ingress"
done
wait "$asking"
show cat "${dir_of[vpdh1]}/asks"
for node in vpdh1 vpdh2; do
    announce "$node" vpodctl logs --previous -n kube-system "vpod-ingress-$node"
    on "$node" vpodctl logs --previous -n kube-system "vpod-ingress-$node" 2>&1 | grep -F "handed over" || fail "there is no successor on $node"
done
output=$(cat "${dir_of[vpdh1]}/asks")
expect '^[0-9]+ requests, 0 failed; answered by blog-1, blog-2'

finished=true
if $keep; then
    cat <<NEXT

${blue}# Left running. Try next:${plain}
  export PATH=$programs:\$PATH VPOD_SOCKET=$(socket_of vpdh1)
  vpodctl describe ingress web
  vpodctl logs -n kube-system vpod-ingress-vpdh1
  ip netns exec vpdhw curl -k --connect-to ::$balancer: https://shop.example/cart
The daemons' logs: ${DEMO_DIR_GLOB}$$.*/vswitchd.log
Stop and remove everything with: scripts/cleanup.sh --demo
NEXT
else
    heading "Done"
fi
