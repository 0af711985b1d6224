package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/nixreg/nixreg/store"
)

const (
	keyID  = "AKIDEXAMPLE"
	secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

// aMachine has nothing of AWS but what the test gives it.
func aMachine(t *testing.T, env map[string]string, credentials string) {
	t.Helper()
	home := t.TempDir()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", home)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "credentials"))
	for k, v := range env {
		t.Setenv(k, v)
	}
	if err := os.WriteFile(filepath.Join(home, "credentials"), []byte(credentials), 0o600); err != nil {
		t.Fatal(err)
	}
}

// s3 is a server that checks signatures, with objects by bucket and key; it gives no reason for a 403 that S3 would not.
func s3(t *testing.T, region, token string, objects map[string]string) *httptest.Server {
	answer := func(w http.ResponseWriter, status int, code string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<?xml version=\"1.0\"?>\n<Error><Code>%s</Code><Message>m</Message></Error>", code)
	}
	return serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		switch ok, signed := verify(t, r, region, token); {
		case signed && !ok:
			answer(w, http.StatusForbidden, "SignatureDoesNotMatch")
		case !signed && !strings.HasPrefix(r.URL.Path, "/public/"):
			answer(w, http.StatusForbidden, "AccessDenied")
		default:
			text, found := objects[r.URL.Path]
			if !found {
				answer(w, http.StatusNotFound, "NoSuchKey")
				return
			}
			w.Header().Set("ETag", `"1"`)
			if r.Header.Get("Range") == "" && len(text) > 1000 {
				w.Header().Set("Content-Length", fmt.Sprint(len(text)))
				io.WriteString(w, text[:len(text)/2])
				cut(w)
			}
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
		}
	})
}

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=` + keyID + `/\d{8}/([a-z0-9-]+)/s3/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=[0-9a-f]{64}$`)

// verify computes a request's signature anew, of the headers it says are signed.
func verify(t *testing.T, r *http.Request, region, token string) (ok, signed bool) {
	t.Helper()
	h := r.Header.Get("Authorization")
	m := authorization.FindStringSubmatch(h)
	if m == nil {
		return false, h != ""
	}
	again := &http.Request{Method: r.Method, Host: r.Host, Header: http.Header{}, URL: must(url.Parse("http://" + r.Host + r.RequestURI))}
	for _, name := range strings.Split(m[2], ";") {
		if v, found := r.Header[http.CanonicalHeaderKey(name)]; found {
			again.Header[http.CanonicalHeaderKey(name)] = v
		}
	}
	for _, need := range []string{"host", "x-amz-content-sha256", "x-amz-date"} {
		if !strings.Contains(";"+m[2]+";", ";"+need+";") {
			t.Errorf("%s is not signed", need)
		}
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || time.Since(at).Abs() > 15*time.Minute {
		t.Errorf("%s, %v", at, err)
	}
	keys := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret, SessionToken: token}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err := signer.SignHTTP(t.Context(), keys, again, r.Header.Get("X-Amz-Content-Sha256"), "s3", region, at); err != nil {
		t.Error(err)
	}
	return again.Header.Get("Authorization") == h && again.Header.Get("X-Amz-Security-Token") == r.Header.Get("X-Amz-Security-Token"), true
}

func TestS3(t *testing.T) {
	odd, large := "log/gtk+3 a?b#c%20é:!=,;'()*&@$.drv", strings.Repeat("NAR ", 50_000)
	env := map[string]string{"AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": secret}
	for name, m := range map[string]struct {
		env                map[string]string
		file, query, token string
	}{
		"environment":    {env: env},
		"session":        {env: map[string]string{"AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": "tok"}, token: "tok"},
		"default":        {file: "[default]\naws_access_key_id=" + keyID + "\naws_secret_access_key=" + secret + "\n"},
		"profile":        {file: "[team]\naws_access_key_id=" + keyID + "\naws_secret_access_key=" + secret + "\n", query: "&profile=team"},
		"profile before": {env: map[string]string{"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}, file: "[team]\naws_access_key_id=" + keyID + "\naws_secret_access_key=" + secret + "\n", query: "&profile=team"},
	} {
		t.Run(name, func(t *testing.T) {
			aMachine(t, m.env, m.file)
			s := s3(t, "eu-west-1", m.token, map[string]string{"/cache/pre fix/" + odd: "odd", "/cache/pre fix/nar/x": large})
			c := client(t, "s3://cache/pre%20fix?region=eu-west-1&endpoint="+s.URL+m.query)
			if b, err := c.Get(t.Context(), odd, 10); err != nil || string(b) != "odd" {
				t.Errorf("%q, %v", b, err)
			}
			if b, err := readAll(t, c, "nar/x"); err != nil || string(b) != large || len(c.slept) != 1 {
				t.Errorf("%d bytes, slept %v, %v", len(b), c.slept, err)
			}
			if _, err := c.Get(t.Context(), "none", 10); !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		})
	}
}

func TestS3Refuses(t *testing.T) {
	aMachine(t, map[string]string{"AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": "hunter2"}, "")
	s := s3(t, "us-east-1", "", nil)
	_, err := client(t, "s3://cache?endpoint="+s.URL).Get(t.Context(), "x", 10)
	if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "SignatureDoesNotMatch") || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
	l, _, err := ParseLocation("s3://cache?profile=none")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), Options{Location: l}); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "none") {
		t.Error(err)
	}
}

// Without credentials requests go unsigned. Who is denied everything lacks credentials; where there was an answer before, what
// is denied is the file.
func TestS3Anonymous(t *testing.T) {
	aMachine(t, nil, "")
	s := s3(t, "us-east-1", "", map[string]string{"/public/x": "public", "/private/x": "private"})
	c := client(t, "s3://public?endpoint="+s.URL)
	if b, err := c.Get(t.Context(), "x", 10); err != nil || string(b) != "public" {
		t.Errorf("%q, %v", b, err)
	}
	c = client(t, "s3://private?endpoint="+s.URL)
	if _, err := c.Get(t.Context(), "x", 10); !errors.Is(err, fs.ErrPermission) || !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Error(err)
	}
	c.answered.Store(true)
	for range 3 {
		if _, err := c.Get(t.Context(), "x", 10); !errors.Is(err, fs.ErrPermission) || errors.Is(err, store.ErrUnavailable) {
			t.Error(err)
		}
	}
}

// A machine of EC2 has credentials of its own.
func TestS3Machine(t *testing.T) {
	imds := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		switch role := "/latest/meta-data/iam/security-credentials/"; r.URL.Path {
		case "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
			io.WriteString(w, "session")
		case role:
			io.WriteString(w, "cache-reader")
		case role + "cache-reader":
			fmt.Fprintf(w, `{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":%q,"SecretAccessKey":%q,"Token":"tok","Expiration":%q}`,
				keyID, secret, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		default:
			http.NotFound(w, r)
		}
	})
	aMachine(t, map[string]string{"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.URL}, "")
	s := s3(t, "us-east-1", "tok", map[string]string{"/cache/x": "text"})
	if b, err := client(t, "s3://cache?endpoint="+s.URL).Get(t.Context(), "x", 10); err != nil || string(b) != "text" {
		t.Errorf("%q, %v", b, err)
	}
}

// A machine's service that stumbles once is asked again soon, and less and less often if it is not there.
func TestS3MachineStumbles(t *testing.T) {
	up, asked := false, 0
	imds := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		switch role := "/latest/meta-data/iam/security-credentials/"; {
		case r.URL.Path == "/latest/api/token":
			if asked++; !up {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
			io.WriteString(w, "session")
		case r.URL.Path == role && up:
			io.WriteString(w, "cache-reader")
		case r.URL.Path == role+"cache-reader" && up:
			fmt.Fprintf(w, `{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":%q,"SecretAccessKey":%q,"Token":"tok","Expiration":%q}`,
				keyID, secret, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	aMachine(t, map[string]string{"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.URL}, "")
	s := s3(t, "us-east-1", "tok", map[string]string{"/cache/x": "text"})
	c := client(t, "s3://cache?endpoint="+s.URL)
	now := time.Now()
	c.keys.signer.now = func() time.Time { return now }
	for _, wait := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second} {
		before := asked
		for range 3 {
			if _, err := c.Get(t.Context(), "x", 10); !errors.Is(err, fs.ErrPermission) {
				t.Fatal(err)
			}
		}
		if asked == before {
			t.Fatalf("not asked again before %v", wait)
		}
		before = asked
		now = now.Add(wait - 1)
		if _, err := c.Get(t.Context(), "x", 10); !errors.Is(err, fs.ErrPermission) || asked != before {
			t.Errorf("asked again too soon: %v", err)
		}
		now = now.Add(1)
	}
	up = true
	if b, err := c.Get(t.Context(), "x", 10); err != nil || string(b) != "text" {
		t.Errorf("%q, %v", b, err)
	}
}

// Where there have been credentials, nothing is asked for without: what is denied then would count as absent.
func TestS3MachineLosesItsKeys(t *testing.T) {
	aMachine(t, nil, "")
	s := s3(t, "us-east-1", "", map[string]string{"/cache/x": "text"})
	c := client(t, "s3://cache?endpoint="+s.URL)
	lost := false
	c.keys.signer.last = true
	c.keys.signer.keys = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		if lost {
			return aws.Credentials{}, errors.New("no answer")
		}
		return aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}, nil
	})
	for _, lost = range []bool{false, true, false} {
		_, err := c.Get(t.Context(), "x", 10)
		if lost && (!errors.Is(err, store.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no credentials of AWS")) || !lost && err != nil {
			t.Error(lost, err)
		}
	}
}

// A bucket that is elsewhere gives no signed answer there: what to write instead is said. Who signs nothing follows.
func TestS3Elsewhere(t *testing.T) {
	other := serve(t, func(int, http.ResponseWriter, *http.Request) {})
	for _, c := range []struct {
		region, say string // what is said; "" if it is followed
		status      int
		signed      bool
	}{
		{"eu-west-1", "give ?region=eu-west-1", 307, true}, {"eu-west-1", "give ?region=eu-west-1", 301, true},
		{"us-east-1", "give ?endpoint=" + strings.TrimPrefix(other.URL, "http://"), 307, true},
		{"eu-west-1", "", 307, false}, {"", "", 307, true}, {"here", "", 307, true},
	} {
		env := map[string]string{}
		if c.signed {
			env = map[string]string{"AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": secret}
		}
		aMachine(t, env, "")
		s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if c.region != "" {
				w.Header().Set("X-Amz-Bucket-Region", c.region)
			}
			w.Header().Set("Location", other.URL+"/x?X-Amz-Signature=hunter2")
			if c.region == "here" {
				w.Header().Set("Location", "/there")
			}
			if r.URL.Path == "/there" {
				return
			}
			w.WriteHeader(c.status)
		})
		_, err := client(t, "s3://cache?endpoint="+s.URL).Get(t.Context(), "x", 10)
		if (err == nil) != (c.say == "") || err != nil && (!errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), c.say) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// S3 says the region in one of two places.
func TestS3Region(t *testing.T) {
	aMachine(t, map[string]string{"AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": secret}, "")
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>")
	})
	if _, err := client(t, "s3://cache?endpoint="+s.URL).Get(t.Context(), "x", 10); err == nil || !strings.Contains(err.Error(), "give ?region=eu-west-1") {
		t.Error(err)
	}
}
