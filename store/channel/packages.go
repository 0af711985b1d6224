package channel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxAttributes = 1_000_000
	maxAttribute  = 1 << 10 // bytes of its path
	maxOutputs    = 64      // of an attribute; those of nixpkgs have a dozen
	maxValue      = 4 << 20 // bytes of a string or a number; descriptions are the longest of them
)

// attribute is one package of a packages.json.
type attribute struct {
	path     string // "python3Packages.requests", components quoted as Nix does
	name     string // of its derivation, "python3.13-requests-2.32.5"; "" if the file has none
	outputs  []string
	installs string // the first of meta.outputsToInstall; "" if the file does not tell
	program  string // meta.mainProgram; "" if the file does not tell
}

// readPackages calls emit for each package of a packages.json, in the order of the file. It holds one package at a time. Malformed
// input gives an error matching [fs.ErrInvalid], a file of another version one matching [errors.ErrUnsupported]. Errors of r and emit
// are returned as they are. jsontext bounds nesting, at 10,000.
//
// Source: nixpkgs, pkgs/top-level/make-tarball.nix. The records came from nix-env -qa --json (outputs are keys of an object, the
// version is a number), and come from packages-info.nix since 2026 (a list; a string).
func readPackages(r io.Reader, emit func(attribute) error) error {
	source := &valueBound{r: r}
	d := jsontext.NewDecoder(source, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	source.done = d.InputOffset
	p := &packagesReader{Decoder: d, emit: emit}
	found := false
	err := p.object(func(key string) error {
		switch key {
		case "version":
			return p.version()
		case "packages":
			found = true
			return p.packages()
		}
		return d.SkipValue()
	})
	if err == nil {
		err = p.end(found)
	}
	switch {
	case err == nil:
		return nil
	case source.err != nil:
		err = source.err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.As(err, new(*jsontext.SyntacticError)):
		err = fmt.Errorf("%w: %w", err, fs.ErrInvalid)
	}
	return fmt.Errorf("offset %d: %w", d.InputOffset(), err)
}

type packagesReader struct {
	*jsontext.Decoder
	emit  func(attribute) error
	count int
}

// end checks that nothing follows the object, and that it had packages.
func (p *packagesReader) end(found bool) error {
	if _, err := p.ReadToken(); err == nil {
		return fmt.Errorf("there is more than one value in it: %w", fs.ErrInvalid)
	} else if err != io.EOF {
		return err
	}
	if !found {
		return fmt.Errorf("there are no packages in it: %w", fs.ErrInvalid)
	}
	return nil
}

func (p *packagesReader) version() error {
	v, err := p.ReadToken()
	if err == nil && v.String() != "2" {
		err = fmt.Errorf("format version %.20q, only 2 is known: %w", v.String(), errors.ErrUnsupported)
	}
	return err
}

func (p *packagesReader) packages() error {
	return p.object(func(key string) error {
		if p.count++; p.count > maxAttributes {
			return fmt.Errorf("more than %d packages: %w", maxAttributes, fs.ErrInvalid)
		}
		if len(key) > maxAttribute {
			return fmt.Errorf("attribute %.100q…: longer than %d bytes: %w", key, maxAttribute, fs.ErrInvalid)
		}
		a, err := p.record(key)
		if err != nil {
			return err
		}
		return p.emit(a)
	})
}

func (p *packagesReader) record(key string) (attribute, error) {
	a := attribute{path: key}
	err := p.object(func(field string) (err error) {
		switch {
		case field == "name" && p.PeekKind() == '"':
			a.name, err = p.text()
		case field == "outputs":
			a.outputs, err = p.outputs()
		case field == "meta" && p.PeekKind() == '{':
			err = p.meta(&a)
		default:
			err = p.SkipValue()
		}
		return err
	})
	return a, err
}

// meta reads what an attribute says of its programs.
//
// Source: nixpkgs, pkgs/stdenv/generic/check-meta.nix.
func (p *packagesReader) meta(a *attribute) error {
	return p.object(func(field string) (err error) {
		switch {
		case field == "mainProgram" && p.PeekKind() == '"':
			a.program, err = p.text()
		case field == "outputsToInstall":
			var names []string
			if names, err = p.outputs(); len(names) > 0 {
				a.installs = names[0]
			}
		default:
			err = p.SkipValue()
		}
		return err
	})
}

// outputs reads the keys of an object or the strings of a list.
func (p *packagesReader) outputs() ([]string, error) {
	var out []string
	add := func(name string) error {
		if len(out) == maxOutputs {
			return fmt.Errorf("a package of more than %d outputs: %w", maxOutputs, fs.ErrInvalid)
		}
		out = append(out, name)
		return nil
	}
	switch p.PeekKind() {
	case '{':
		err := p.object(func(name string) error {
			if err := add(name); err != nil {
				return err
			}
			return p.SkipValue()
		})
		return out, err
	case '[':
		if _, err := p.ReadToken(); err != nil {
			return nil, err
		}
		for p.PeekKind() == '"' {
			name, err := p.text()
			if err == nil {
				err = add(name)
			}
			if err != nil {
				return nil, err
			}
		}
		return out, p.expect(']')
	}
	return nil, p.SkipValue()
}

// object reads an object; field reads the value of each of its members.
func (p *packagesReader) object(field func(key string) error) error {
	if err := p.expect('{'); err != nil {
		return err
	}
	for p.PeekKind() == '"' {
		key, err := p.text()
		if err != nil {
			return err
		}
		if err := field(key); err != nil {
			return err
		}
	}
	return p.expect('}')
}

func (p *packagesReader) text() (string, error) {
	t, err := p.ReadToken()
	if err != nil {
		return "", err
	}
	return t.String(), nil
}

func (p *packagesReader) expect(kind jsontext.Kind) error {
	t, err := p.ReadToken()
	if err == nil && t.Kind() != kind {
		err = fmt.Errorf("%s where %q was expected: %w", t.Kind(), byte(kind), fs.ErrInvalid)
	}
	return err
}

// valueBound fails when one value has more than maxValue bytes, because the decoder holds a whole value in memory.
type valueBound struct {
	r    io.Reader
	done func() int64 // bytes of the complete values
	read int64
	err  error // of r or the bound
}

func (v *valueBound) Read(b []byte) (int, error) {
	if v.read-v.done() > maxValue {
		v.err = fmt.Errorf("a value of more than %d bytes: %w", maxValue, fs.ErrInvalid)
		return 0, v.err
	}
	n, err := v.r.Read(b)
	v.read += int64(n)
	if err != nil && err != io.EOF {
		v.err = err
	}
	return n, err
}
