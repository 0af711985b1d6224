// Package nixconf reads what Nix's own configuration says of substituters: which caches there are, whose signatures are
// trusted, and where credentials and certificates lie. It looks where Nix looks, and reads lines as Nix reads them; all
// other settings are passed over.
//
// It opens no store, and does not know what the URLs mean.
//
//	conf, err := nixconf.Read(os.LookupEnv)
//	conf.Substituters // "https://cache.nixos.org/", …
package nixconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Config is what the settings come to.
type Config struct {
	Substituters      []string // store URLs, as they are written, in order; extra-substituters among them
	TrustedPublicKeys []string // "<name>:<base64>", as they are written
	RequireSigs       bool
	NetrcFile         string // credentials; "" for none. It need not exist if it is named
	SSLCertFile       string // certificate authorities; "" for those of the system

	// Unread are files that are there and could not be read. Nix passes over them, which may be meant: secrets are often
	// included from a file that is for root alone.
	Unread []error
}

// defaults are those of a Nix whose store is /nix/store.
//
// Source: NixOS/nix src/libstore/include/nix/store/globals.hh, Settings; src/libstore/filetransfer.cc, FileTransferSettings.
func defaults() *Config {
	return &Config{
		Substituters:      []string{"https://cache.nixos.org/"},
		TrustedPublicKeys: []string{"cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="},
		RequireSigs:       true,
	}
}

// Read reads the configuration of whoever runs the program: the system's file, those of the user, and the variable
// NIX_CONFIG, each over the one before. Files that are absent are no error; a line that Nix would refuse gives one that
// begins with file:line and matches [fs.ErrInvalid], and the include of an absent file one that matches [fs.ErrNotExist].
//
// Source: NixOS/nix src/libstore/globals.cc, loadConfFile.
func Read(lookupEnv func(string) (string, bool)) (*Config, error) {
	e := environment(lookupEnv)
	r := &reader{config: defaults(), readFile: readFile}
	r.config.NetrcFile = e.netrc()
	r.config.SSLCertFile, _ = e.value("NIX_SSL_CERT_FILE") // SSL_CERT_FILE is the system's own way to say where they are
	for _, file := range e.files() {
		if err := r.file(file); err != nil {
			return nil, err
		}
	}
	if text, ok := lookupEnv("NIX_CONFIG"); ok {
		if err := r.text("NIX_CONFIG", text); err != nil {
			return nil, err
		}
	}
	return r.config, nil
}

// maxFile is how many bytes a file may have: Nix's own are a few kilobytes.
const maxFile = 1 << 20

func readFile(name string) (string, error) {
	f, err := openRegular(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return readText(f, name)
}

// openRegular opens no pipe: it would wait for its other end.
func openRegular(name string) (*os.File, error) {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	return os.Open(name)
}

// netrc is the file that holds credentials where no setting names one, if it can be read.
func (e environment) netrc() string {
	name := filepath.Join(e.confDir(), "netrc")
	f, err := openRegular(name)
	if err != nil {
		return ""
	}
	f.Close()
	return name
}

func invalid(at, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", at, fmt.Sprintf(format, args...), fs.ErrInvalid)
}
