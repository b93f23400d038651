package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keyway/internal/testkit/ports"
	"keyway/internal/testkit/redisserver"
)

// A Redis that speaks TLS, by its URL: who it is counts. A gateway that does not know
// its authority keeps no session there, and says why.
func TestRedisByTLS(t *testing.T) {
	certificate, key := selfSigned(t)
	port := ports.Reserve(t, 1)
	redisserver.Start(t, redisserver.Password(redisPassword), redisserver.Args(
		"--tls-port", fmt.Sprint(port), "--tls-cert-file", certificate, "--tls-key-file", key,
		"--tls-ca-cert-file", certificate, "--tls-auth-clients", "no"))
	w := newWorld(t, setup{})
	w.ledger.add("the Redis password", redisPassword)
	url := Env{"REDIS_URL": fmt.Sprintf("rediss://:%s@127.0.0.1:%d", redisPassword, port)}

	stranger := w.keep(Launch(t, w.Env.With(url).With(Env{"PORT": "", "BFF_ADMIN_ADDR": ""}), "serve"))
	eventually(t, "the gateway says what is wrong with the certificate", func() bool {
		return strings.Contains(stranger.Output(), "certificate signed by unknown authority")
	})

	gateway := w.serve(t, url.With(Env{"SSL_CERT_FILE": certificate}))
	callAPI(t, w.signedIn(t, gateway))
	if strings.Contains(stranger.Output(), `"msg":"serving"`) {
		t.Errorf("a gateway serves that knows no authority of its Redis:\n%s", stranger.Output())
	}
}

// selfSigned is a certificate for 127.0.0.1 and its key, as PEM files.
func selfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis of a test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("redis.pem", "CERTIFICATE", der), write("redis.key", "PRIVATE KEY", pkcs8)
}
