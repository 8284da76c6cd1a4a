# shellcheck shell=bash
# Certificates and kubeconfigs of the cluster, made once.

issue() { # NAME SUBJECT [SUBJECT-ALTERNATIVE-NAMES]
  openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" \
    -extfile <(printf 'extendedKeyUsage=serverAuth,clientAuth\n%s' "${3:+subjectAltName=$3}") 2>/dev/null
  rm -f "$1.csr"
}

kubeconfig_for() { # NAME SERVER FILE
  cat >"$3" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: local, cluster: {server: "$2", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
contexts: [{name: local, context: {cluster: local, user: $1}}]
current-context: local
YAML
  chmod 600 "$3"
}

make_pki() {
  [ -f "$STATE/pki/done" ] && return 0
  cd "$STATE/pki" || fail "there is no folder $STATE/pki"
  openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 3650 -subj /CN=local-ca 2>/dev/null
  openssl genrsa -out sa.key 2048 2>/dev/null
  openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
  issue apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:10.96.0.1,IP:127.0.0.1,IP:$NODE_IP"
  issue admin /O=system:masters/CN=admin
  issue controller-manager /CN=system:kube-controller-manager
  issue scheduler /CN=system:kube-scheduler
  issue proxy /CN=system:kube-proxy
  issue kubelet /O=system:nodes/CN=system:node:node-1 "DNS:node-1,IP:$NODE_IP"
  issue front /CN=front-proxy
  local name
  for name in admin controller-manager scheduler proxy kubelet; do
    kubeconfig_for "$name" https://127.0.0.1:6443 "$STATE/conf/$name.kubeconfig"
  done
  kubeconfig_for admin "https://127.0.0.1:$API_PORT" "$STATE/kubeconfig"
  touch ./done
  cd "$OLDPWD" || fail "there is no folder $OLDPWD"
}
