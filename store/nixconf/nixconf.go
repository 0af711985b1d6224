// Package nixconf reads the settings of Nix's own configuration that concern substituters: the caches, the trusted keys, and
// the files of credentials and certificates. It reads the files that Nix reads, with the same syntax, and ignores all
// other settings.
//
// The package must not open stores or know the meaning of their URLs.
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

// Config is the result of all settings.
type Config struct {
	Substituters      []string // store URLs as written, in order, extra-substituters included
	TrustedPublicKeys []string // "<name>:<base64>", as written
	RequireSigs       bool
	NetrcFile         string // credentials; "" is none. The file need not exist if a setting names it
	SSLCertFile       string // certificate authorities; "" is those of the system

	// Unread are files that exist and could not be read. Nix ignores them, often on purpose: a file with secrets that only
	// root may read is included.
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

// Read reads the configuration of the user of this process: the system's file, the user's files, and the variable
// NIX_CONFIG. Each overrides the one before. Absent files are no error. A line that Nix would refuse gives an error that
// begins with file:line and matches [fs.ErrInvalid]; the include of an absent file gives one matching [fs.ErrNotExist].
//
// Source: NixOS/nix src/libstore/globals.cc, loadConfFile.
func Read(lookupEnv func(string) (string, bool)) (*Config, error) {
	e := environment(lookupEnv)
	r := &reader{config: defaults(), readFile: readFile}
	r.config.NetrcFile = e.netrc()
	r.config.SSLCertFile, _ = e.value("NIX_SSL_CERT_FILE") // crypto/x509 reads SSL_CERT_FILE itself
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
