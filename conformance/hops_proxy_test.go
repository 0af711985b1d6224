package conformance_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	bignum "math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	proxied = "mirror.test"  // what clients call the proxy
	prefix  = "/some/prefix" // what it strips

	runningPage = "../docs/running.md" // has the lines of its configuration
)

// nginx is a proxy in front of a server, with the lines of docs/running.md: over HTTP as they are there, over HTTPS below a
// prefix.
type nginx struct {
	http, https string // ports
	ca          string // file with the certificate
}

func startNginx(t *testing.T, s *server) nginx {
	t.Helper()
	program, dir := debian(t, "nginx"), t.TempDir()
	n := nginx{http: freePort(t), https: freePort(t), ca: filepath.Join(dir, "cert.pem")}
	certify(t, dir)
	behind := strings.TrimPrefix(s.URL, "http://")
	lines := snippet(t, runningPage, "proxy_read_timeout", "127.0.0.1:5000", behind)
	stripped := strings.NewReplacer("location /v2/", "location "+prefix+"/v2/", "http://"+behind, "http://"+behind+"/v2/").Replace(lines)
	writeInto(t, dir, "nginx.conf", fmt.Appendf(nil, `daemon off;
user root;
pid nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  server {
    listen 127.0.0.1:%s;
%s  }
  server {
    listen 127.0.0.1:%s ssl;
    ssl_certificate cert.pem;
    ssl_certificate_key key.pem;
%s  }
}
`, n.http, lines, n.https, stripped))
	cmd := exec.Command(program.path, "-p", dir, "-c", "nginx.conf")
	log := new(strings.Builder)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := <-done; err != nil || t.Failed() {
			t.Logf("nginx: %v\n%s", err, log)
		}
	})
	eventually(t, "nginx listens", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+n.https)
		if err == nil {
			c.Close()
		}
		return err == nil || len(done) > 0
	})
	return n
}

// freePort is one that nobody has just now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// certify writes a certificate that has signed itself, and its key.
func certify(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: bignum.NewInt(1), Subject: pkix.Name{CommonName: proxied}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{proxied, "localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeInto(t, dir, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	writeInto(t, dir, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

// client is one of Go's that finds the proxy under its name, and trusts it.
func (n nginx) client(t *testing.T) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(readFile(t, n.ca))
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool},
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, strings.Replace(addr, proxied, "127.0.0.1", 1))
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// Hops stay at the address that the client has, where a proxy in front speaks HTTPS, has another name, and strips a prefix.
func TestHopsBehindNginx(t *testing.T) {
	endToEnd(t)
	resolve := resolve(t, "-header-timeout", "2s")
	for name, pull := range map[string]func(ctx context.Context, t *testing.T, n nginx, i target) error{
		"docker": func(ctx context.Context, t *testing.T, n nginx, i target) error {
			i.host = "localhost:" + n.http
			return dockerOperations(debian(t, "docker"))[0].do(ctx, "", i)
		},
		"containerd 2.4": func(ctx context.Context, t *testing.T, n nginx, i target) error {
			i.host = "localhost:" + n.http
			return resolveOperation(resolve).do(ctx, "", i)
		},
		"containerd 2.4, HTTPS, prefix": func(ctx context.Context, t *testing.T, n nginx, i target) error {
			hosts := t.TempDir()
			writeInto(t, filepath.Join(hosts, proxied), "hosts.toml", fmt.Appendf(nil,
				"server = \"https://localhost:%[1]s\"\n[host.\"https://localhost:%[1]s%[2]s/v2\"]\n  capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n  ca = %[3]q\n", n.https, prefix, n.ca))
			p := program{path: resolve.path, args: append([]string{"-hosts-dir", hosts}, resolve.args...)}
			return resolved(ctx, p, "", i, proxied+"/"+i.repo+":latest")
		},
		"curl, HTTPS, prefix": func(ctx context.Context, t *testing.T, n nginx, i target) error {
			curl := debian(t, "curl")
			curl.args = []string{"-sSfL", "--cacert", n.ca, "--resolve", proxied + ":" + n.https + ":127.0.0.1", "-H", "Accept: " + ociManifest}
			out, err := curl.run(ctx, "", "https://"+proxied+":"+n.https+prefix+"/v2/"+i.repo+"/manifests/latest")
			if err != nil {
				return err
			}
			return same("the manifest's digest", textDigest(out), i.top)
		},
		"Go, HTTPS, prefix": func(ctx context.Context, t *testing.T, n nginx, i target) error {
			at := "https://" + proxied + ":" + n.https + prefix + "/v2/" + i.repo + "/manifests/latest"
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, at+"?ns=", nil)
			if err != nil {
				return err
			}
			req.Header.Set("Accept", ociManifest)
			resp, err := n.client(t).Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			if !strings.HasPrefix(resp.Request.URL.String(), at+"?ns=&nixreg_hop=") {
				return fmt.Errorf("the answer is from %s", resp.Request.URL)
			}
			return same(resp.Status+": the manifest's digest", textDigest(string(body)), i.top)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHeld(t, "nar", "--serve-as", proxied)
			n := startNginx(t, h.server)
			err := h.during(t, func() error {
				ctx, cancel := context.WithTimeout(t.Context(), cellTimeout)
				defer cancel()
				return pull(ctx, t, n, h.want)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
