package lies

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"

	jose "github.com/go-jose/go-jose/v4"
)

// opened is a token taken apart, to be put together in another way.
type opened struct {
	header  map[string]any
	payload string // as it was, encoded
	sig     string
}

func open(token string) opened {
	parts := strings.SplitN(token, ".", 3)
	o := opened{header: map[string]any{}, payload: parts[1], sig: parts[2]}
	raw, _ := base64.RawURLEncoding.DecodeString(parts[0])
	_ = json.Unmarshal(raw, &o.header) // the provider made it
	return o
}

func (o opened) input() string {
	h, _ := json.Marshal(o.header)
	return b64(h) + "." + o.payload
}

func (o opened) unsigned() string { return o.input() + "." }

// withSignature keeps the signature, whatever the header says by now.
func (o opened) withSignature() string { return o.input() + "." + o.sig }

func (o opened) hmac(key []byte) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(o.input()))
	return o.input() + "." + b64(m.Sum(nil))
}

func (o opened) ecdsa(key *ecdsa.PrivateKey) string {
	sum := sha256.Sum256([]byte(o.input()))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	must(err)
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return o.input() + "." + b64(sig)
}

func (o opened) rsa(key *rsa.PrivateKey) string {
	sum := sha256.Sum256([]byte(o.input()))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	must(err)
	return o.input() + "." + b64(sig)
}

func newECKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return key
}

func newRSAKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	return key
}

// publicPEM is how a public key looks to who takes it for a shared secret.
func publicPEM(key any) []byte {
	der, err := x509.MarshalPKIXPublicKey(key)
	must(err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// encrypted is a JWE around anything.
func encrypted(content string) string {
	e, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.ECDH_ES, Key: newECKey().Public()}, nil)
	must(err)
	jwe, err := e.Encrypt([]byte(content))
	must(err)
	token, err := jwe.CompactSerialize()
	must(err)
	return token
}

func jwk(key any, kid, alg string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: alg, Use: "sig"}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// must is for what fails only if the machine has no random numbers.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
