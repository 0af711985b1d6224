package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/manifest/packages"
)

// Config is what a Server is made from. The zero value makes images of this machine's store, or of cache.nixos.org, with
// everything that is kept in a temporary directory.
type Config struct {
	// Data is the directory of what is kept between runs; one process has it at a time. "" keeps records in memory, files
	// in a temporary directory, and opens no mirrors.
	Data string

	// Listen is the address HOST:PORT that Serve serves everything on; "" is none.
	Listen string
	// MirrorListen are addresses that serve one mirror alone.
	MirrorListen []MirrorListener
	// Wait is how long a client waits for an answer before it is redirected to ask again.
	Wait time.Duration
	// ServeAs are the image hosts to answer for as a mirror (containerd's ?ns=).
	ServeAs []string

	// Stores are URLs, or "auto" or "nix-conf", in order of preference. None is "auto", or nothing with Demo.
	Stores []string
	// Demo adds the built-in store.
	Demo bool
	// TrustedKeys are those whose signatures are trusted in every binary cache.
	TrustedKeys []PublicKey
	// NetrcFile and CAFile are for caches that name none themselves.
	NetrcFile, CAFile string
	// NARCache is how many bytes of archives from caches are kept; 0 is none. Without Data it is 4 GiB, whatever it says.
	NARCache int64
	// Channels are names, NAME=URL, URLs or directories. None is nixos-unstable where "auto" comes to cache.nixos.org.
	Channels []string
	// ChannelRefresh is the time after which channels are read again.
	ChannelRefresh time.Duration

	// Images are files and directories of image files.
	Images []string
	// Architectures, Root and Layering are for images by package name; see manifest.Config.
	Architectures []string
	Root          []imagefile.RootPart
	Layering      imagefile.Layering
	// Encoding is how layers are compressed.
	Encoding layer.Encoding
	// BlobCache is how many bytes of compressed layers are kept; 0 is none.
	BlobCache int64

	// Build is a flake, or BuildFile a Nix file, that packages which no store has are built from; both "" build nothing.
	Build, BuildFile string
	// BuildTimeout and BuildMemory (bytes of the evaluator's heap) bound one build, BuildJobs how many run at once.
	BuildTimeout time.Duration
	BuildMemory  int64
	BuildJobs    int
	// Keep is how long after its last pull an image is kept from Nix's garbage collector; without Data until Close.
	Keep time.Duration

	// Mirrors are the registries that are mirrored, and what is known of those that base images come from.
	Mirrors []Mirror
	// MirrorCache is how many bytes of mirrored content are kept.
	MirrorCache int64

	// LookupEnv finds the variables of Nix's configuration, as os.LookupEnv does.
	LookupEnv func(string) (string, bool)
	// Log must be set. CacheLog gets what there is to say of binary caches instead, if it is set.
	Log, CacheLog *slog.Logger
}

// DefaultData returns the data directory below the user's cache directory.
func DefaultData() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", errors.New("no cache directory for this user: give --data DIR")
	}
	return filepath.Join(cache, "nixreg"), nil
}

// MirrorListener is an address HOST:PORT that serves one mirror alone.
type MirrorListener struct{ Mirror, Addr string }

// Mirror is one registry that is mirrored.
type Mirror struct {
	Name         string // as images are named, the first component of a path
	URL          string // http or https and a host; "" is https://Name
	Username     string // "" takes the credentials of docker login
	PasswordFile string
	SkipVerify   bool
	TTL          time.Duration // of tags
	Allow, Deny  []string      // patterns of repositories
}

// Check returns what is wrong with the name, the URL or the login.
func (m Mirror) Check() error {
	if !oci.IsComponent(m.Name) {
		return fmt.Errorf("mirror %.200q: want NAME or NAME=URL, where NAME can be part of an image's name: docker.io, lab=http://127.0.0.1:5001", m.Name)
	}
	if packages.Reserved(m.Name) {
		return fmt.Errorf("mirror %q: the name has another meaning: give it a different one, %s.example=URL", m.Name, m.Name)
	}
	if (m.Username == "") != (m.PasswordFile == "") {
		return fmt.Errorf("mirror %s: username and password-file belong together", m.Name)
	}
	if m.URL == "" {
		return nil
	}
	u, err := url.Parse(m.URL)
	if err == nil && u.Port() != "" {
		if _, err := strconv.ParseUint(u.Port(), 10, 16); err != nil {
			return fmt.Errorf("mirror %s: %.200q: there is no port %s", m.Name, m.URL, u.Port())
		}
	}
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("mirror %s: %.200q: want http:// or https:// and a host, no more", m.Name, m.URL)
	}
	return nil
}

// Hosts are the names by which containerd asks for the registry: its own and that of its address.
func (m Mirror) Hosts() []string {
	hosts := []string{m.Name}
	if u, err := url.Parse(m.URL); err == nil && u.Host != "" && u.Host != m.Name {
		hosts = append(hosts, u.Host)
	}
	return hosts
}

// JoinMirrors puts what flags name beside what the file describes. A flag with a URL changes that of the file alone.
func JoinMirrors(file, flags []Mirror) ([]Mirror, error) {
	all := slices.Clone(file)
	named := make(map[string]bool)
	for _, m := range flags {
		if named[m.Name] {
			return nil, fmt.Errorf("mirror %s is named twice", m.Name)
		}
		named[m.Name] = true
		switch i := slices.IndexFunc(all, func(f Mirror) bool { return f.Name == m.Name }); {
		case i < 0:
			all = append(all, m)
		case m.URL != "":
			all[i].URL = m.URL
		}
	}
	return all, distinct(all)
}

// distinct makes sure that what containerd calls a registry means one mirror.
func distinct(all []Mirror) error {
	owner := make(map[string]string)
	for _, m := range all {
		for _, h := range m.Hosts() {
			if o, taken := owner[h]; taken {
				return fmt.Errorf("mirrors %s and %s are both of %s", o, m.Name, h)
			}
			owner[h] = m.Name
		}
	}
	return nil
}

// Find returns the name of the mirror that the address is for: Mirror if it is set, else that of Docker Hub, or the only one.
func (l MirrorListener) Find(mirrors []Mirror) (string, error) {
	has := func(name string) bool {
		return slices.ContainsFunc(mirrors, func(m Mirror) bool { return m.Name == name })
	}
	switch {
	case l.Mirror != "" && !has(l.Mirror):
		return "", fmt.Errorf("mirror-listen %q: there is no mirror %.100q", l.Mirror+"="+l.Addr, l.Mirror)
	case l.Mirror != "":
		return l.Mirror, nil
	case has(oci.DockerHub):
		return oci.DockerHub, nil
	case len(mirrors) == 1:
		return mirrors[0].Name, nil
	case len(mirrors) == 0:
		return "", errors.New("mirror-listen: there is no mirror: give --mirror docker.io, or another")
	}
	return "", fmt.Errorf("mirror-listen %q: which mirror is it for? give NAME=ADDR", l.Addr)
}
