package server

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"strings"
	"time"

	"github.com/nixreg/nixreg/manifest/catalog"
)

// exampleTimeout bounds how long a start waits for names: a channel may have to be fetched first.
const exampleTimeout = time.Second

// Offers lists what can be pulled: see [manifest.Names.Offers].
func (s *Server) Offers(ctx context.Context, pattern string) iter.Seq2[catalog.Offer, error] {
	return s.source.Catalog().Offers(ctx, pattern)
}

// NothingOffered is the error of a list without any name. It says what would give names, and matches [fs.ErrNotExist].
func (s *Server) NothingOffered(pattern string) error {
	switch {
	case s.nameless():
		return s.explain("", fmt.Errorf("no names: %w", fs.ErrNotExist))
	case pattern == "":
		return fmt.Errorf("nothing has a name here: %s", howToAdd)
	case s.builds != "":
		return fmt.Errorf("no name matches %.100q: what can be built of %s is not listed, and can be pulled all the same", pattern, s.builds)
	}
	return fmt.Errorf("no name matches %.100q: nixreg list without a pattern has all names", pattern)
}

const howToAdd = "install a package with Nix, give --images DIR with definitions, or --channel NAME or --build nixpkgs for all of nixpkgs"

// announceExample logs where images are served, with a pull that works.
func (p *parts) announceExample(ctx context.Context, at string, log *slog.Logger) {
	serving := "serving " + strings.Join(p.names(), " and ") + " on http://" + at
	within, cancel := context.WithTimeout(ctx, exampleTimeout)
	defer cancel()
	switch name, err := p.source.Catalog().Example(within); {
	case name != "":
		log.Info(serving, "try", "docker pull "+at+"/"+name)
	case err != nil: // names may come later
		log.Info(serving)
	case p.builds != "":
		log.Info(serving, "names", "attributes of "+p.builds+": they are built when they are pulled")
	default:
		log.Info(serving, "names", "there are none yet: "+howToAdd)
	}
}
