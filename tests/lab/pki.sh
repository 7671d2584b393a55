# Sourced after lib.sh: an authority and certificates, made by OpenSSL in /tmp/n/pki.

PKI=/tmp/n/pki
mkdir -p $PKI
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=lab \
    -addext 'keyUsage=critical,keyCertSign,cRLSign' -keyout $PKI/ca.key -out $PKI/ca.pem \
    2> /dev/null || fail "no authority"
}
# certificate NAME ADDRESS DAYS KEY-OPTIONS...; PKI_COMMENT makes it as long as one likes.
certificate() {
  local name=$1 address=$2 days=$3
  shift 3
  openssl genpkey "$@" -out "$PKI/$name.key" 2> /dev/null
  openssl req -new -key "$PKI/$name.key" -subj "/CN=$name" -out "$PKI/$name.csr" 2> /dev/null
  printf 'subjectAltName=IP:%s\nkeyUsage=critical,digitalSignature\n' "$address" > "$PKI/ext"
  [ -z "${PKI_COMMENT:-}" ] || echo "nsComment=$PKI_COMMENT" >> "$PKI/ext"
  openssl x509 -req -in "$PKI/$name.csr" -CA $PKI/ca.pem -CAkey $PKI/ca.key -CAcreateserial \
    -days "$days" -extfile "$PKI/ext" -out "$PKI/$name.pem" 2> /dev/null
}
P256="-algorithm EC -pkeyopt ec_paramgen_curve:P-256"
