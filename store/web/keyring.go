package web

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/nixreg/nixreg/internal/filestamp"
)

const maxKeyFile = 1 << 20 // bytes

// errCredentials is matched by the error for credentials that are configured and cannot be read.
var errCredentials = errors.New("no credentials")

// keyring has the credentials for the server.
type keyring struct {
	location Location
	log      *slog.Logger
	netrc    *keyFile[[]login] // nil: none
	token    *keyFile[string]  // nil: none
	signer   *signer           // nil: not S3
	named    sync.Once
}

func newKeyring(ctx context.Context, o Options, log *slog.Logger) (*keyring, error) {
	l := o.Location
	k := &keyring{location: l, log: log}
	if l.bucket != nil {
		var err error
		k.signer, err = newSigner(ctx, l.bucket, log)
		return k, err
	}
	if l.token != "" {
		k.token = &keyFile[string]{name: l.token, parse: parseToken}
		if _, err := k.token.get(); err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
	}
	if name := cmp.Or(l.netrc, o.Netrc); name != "" {
		k.netrc = &keyFile[[]login]{name: name, parse: func(s string) ([]login, error) { return parseNetrc(s), nil }}
		// A netrc in the URL must be there. The one of the configuration need not.
		if _, err := k.netrc.get(); err != nil && (l.netrc != "" || !errors.Is(err, fs.ErrNotExist)) {
			return nil, fmt.Errorf("netrc: %w", err)
		}
	}
	return k, nil
}

// authorize adds credentials to the header of r.
func (k *keyring) authorize(r *http.Request) error {
	if k.signer != nil {
		return k.signer.sign(r)
	}
	if k.token != nil {
		t, err := k.token.get()
		if err != nil {
			return k.unreadable("token", k.token.name, err)
		}
		r.Header.Set("Authorization", "Bearer "+t)
		return nil
	}
	user := k.location.user.Username()
	password, ok := k.location.user.Password()
	if !ok && k.netrc != nil {
		all, err := k.netrc.get()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return k.unreadable("netrc", k.netrc.name, err)
		}
		if l, found := find(all, k.location.base.Hostname(), user); found {
			user, password, ok = l.user, l.password, true
		}
	}
	if ok || user != "" {
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
	}
	return nil
}

// unreadable makes the error for a file of credentials that cannot be read.
func (k *keyring) unreadable(what, name string, err error) error {
	k.name(name)
	text := strings.TrimPrefix(err.Error(), name+": ")
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		text = p.Err.Error()
	}
	return fmt.Errorf("%w: %s file: %s", errCredentials, what, text)
}

// name logs, once, the file that has the credentials. Errors do not name it, for clients see them.
func (k *keyring) name(file string) {
	k.named.Do(func() {
		k.log.Warn("the server wants other credentials than it gets", "store", k.location.shown, "file", file)
	})
}

// advice returns what to do after a refusal, and the file to look at, which is for the log only.
func (k *keyring) advice(status int) (text, file string) {
	host := k.location.base.Hostname()
	_, inURL := k.location.user.Password()
	switch {
	case status == http.StatusProxyAuthRequired:
		return "the proxy wants a user and a password: put them in HTTPS_PROXY or HTTP_PROXY", ""
	case k.signer != nil:
		return "S3 does not take the credentials: look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ?profile=, and at ?region=", ""
	case k.token != nil:
		return "the server does not take the token that is in its file", k.token.name
	case inURL:
		return "the server does not take the user and password of the URL", ""
	case k.netrc == nil:
		return "the server wants credentials: give ?netrc-file= or ?token-file=", ""
	}
	all, err := k.netrc.get()
	if err != nil {
		return "the server wants credentials, and the netrc file is not there", k.netrc.name
	}
	if _, found := find(all, host, k.location.user.Username()); !found {
		return fmt.Sprintf("the server wants credentials, and the netrc file has none for machine %.100s", host), k.netrc.name
	}
	return fmt.Sprintf("the server does not take what the netrc file has for machine %.100s", host), k.netrc.name
}

// parseToken checks that a token can be part of a header.
func parseToken(s string) (string, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return "", fmt.Errorf("the file is empty: %w", fs.ErrInvalid)
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f {
			return "", fmt.Errorf("want one line of visible ASCII, the token: %w", fs.ErrInvalid)
		}
	}
	return s, nil
}

// keyFile is a file that is read again when it has changed. Safe for concurrent use.
type keyFile[T any] struct {
	name  string
	parse func(string) (T, error)

	mu    sync.Mutex      // guards what follows
	stamp filestamp.Stamp // of the file that was read
	value T
}

func (f *keyFile[T]) get() (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var none T
	info, err := os.Stat(f.name)
	if err != nil {
		return none, err
	}
	now, _ := filestamp.Of(info)
	if f.stamp == now {
		return f.value, nil
	}
	if !info.Mode().IsRegular() { // to open a pipe would wait for its writer
		return none, fmt.Errorf("%s: not a regular file: %w", f.name, fs.ErrInvalid)
	}
	b, err := readFile(f.name, maxKeyFile)
	if err != nil {
		return none, err
	}
	v, err := f.parse(string(b))
	if err != nil {
		return none, fmt.Errorf("%s: %w", f.name, err)
	}
	f.stamp, f.value = now, v
	return v, nil
}
