package draft

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// maxAccounts bounds an etc/passwd or etc/group that is read, in bytes.
const maxAccounts = 1 << 20

// warnOfKeys warns of the keys of the config that no client knows. positions has the positions of the keys, by key.
func (b *Image) warnOfKeys(positions map[string]imagefile.Position) {
	for _, quoted := range b.config.Config.Keys {
		key, _ := document.Value{Kind: 's', Text: quoted}.AsString()
		known, meant := imagefile.ConfigKey(key)
		switch {
		case known:
			continue
		case meant == "":
			b.image.Warnings = append(b.image.Warnings, fmt.Sprintf("config: unknown key %.100q: clients ignore it", key))
			continue
		}
		text := fmt.Sprintf("config: unknown key %.100q: did you mean %s?", key, meant)
		b.misspelled = append(b.misspelled, Misspelled{positions[key], text})
		b.image.Warnings = append(b.image.Warnings, text)
	}
}

// warnOfRefusals warns of values that clients refuse in the config of an image that was made elsewhere.
func (b *Image) warnOfRefusals(config []byte) {
	for _, r := range imagefile.Refusals(config) {
		b.image.Warnings = append(b.image.Warnings, r.Text)
		b.image.Refused = append(b.image.Refused, r.Key)
	}
}

// warnOfConfig warns of a program or a user of the config that the image does not have. It is only for images without a base image,
// because it does not read the files of a base image. s has the image's closure only.
func (b *Image) warnOfConfig(ctx context.Context, s store.Store, contents []store.Path) error {
	r := rootView{store: s, contents: contents}
	for _, l := range b.layers {
		r.entries = append(r.entries, l.recipe.Entries...)
	}
	program, err := b.missingProgram(ctx, r)
	if err != nil {
		return err
	}
	account, err := b.missingAccount(ctx, r)
	for _, text := range []string{program, account} {
		if text != "" {
			b.image.Warnings = append(b.image.Warnings, text)
		}
	}
	return err
}

// missingProgram returns the warning about the program of the config if the image cannot run it; "" if it can, or there is none.
func (b *Image) missingProgram(ctx context.Context, r rootView) (string, error) {
	if len(b.image.Command) == 0 {
		return "", nil
	}
	key, program := "Cmd", b.image.Command[0]
	if len(words(b.config.Config, "Entrypoint")) > 0 {
		key = "Entrypoint"
	}
	dirs, reason := []string{"/"}, "not in the image"
	if !strings.Contains(program, "/") {
		dirs = searchPath(b.image.Env)
		reason = "in no directory of PATH (" + strings.Join(dirs, ":") + ")"
	} else if !path.IsAbs(program) {
		dir, _ := b.config.Config.Get("WorkingDir")
		text, _ := dir.AsString()
		dirs = []string{"/" + text}
	}
	for _, dir := range dirs {
		at, nd, err := r.find(ctx, path.Join(dir, program))
		switch {
		case err != nil:
			return "", err
		case at == "":
		case nd.Kind == store.Regular && nd.Executable:
			return "", nil
		default:
			reason = "not a program: it is no file that may be executed"
		}
	}
	return fmt.Sprintf("config: %s runs %.200q, which is %s", key, program, reason), nil
}

// searchPath returns the directories in which runtimes search a program whose name has no slash.
//
// Source: moby, oci/defaults.go and daemon/oci_linux.go: the default PATH of an image.
func searchPath(env []string) []string {
	dirs := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, v := range env {
		if p, ok := strings.CutPrefix(v, "PATH="); ok {
			dirs = p
		}
	}
	return strings.Split(dirs, ":")
}

// missingAccount returns the warning about the user or group in the config's User that the image does not have; "" if it has
// both, or they are numbers.
//
// Source: moby/sys/user, GetExecUser: a name needs a line in /etc/passwd or /etc/group, root included; a number needs none.
func (b *Image) missingAccount(ctx context.Context, r rootView) (string, error) {
	v, _ := b.config.Config.Get("User")
	text, _ := v.AsString()
	user, group, _ := strings.Cut(text, ":")
	for _, account := range [][2]string{{user, "/etc/passwd"}, {group, "/etc/group"}} {
		name, file := account[0], account[1]
		if _, err := strconv.Atoi(name); err == nil || name == "" {
			continue
		}
		lines, err := r.read(ctx, file)
		if err != nil {
			return "", err
		}
		if !strings.Contains("\n"+lines, "\n"+name+":") {
			return fmt.Sprintf("config: User is %.100q, and the image's %s has no %.100q: write a number, or add passwd to root", text, file, name), nil
		}
	}
	return "", nil
}

// rootView finds files by their names in an image without a base image.
type rootView struct {
	store    store.Store
	contents []store.Path
	entries  []layer.Entry // of the layer of the root file system
}

// find returns the store path, and the node in it, of a name in the image; "" if there is no such file.
func (r rootView) find(ctx context.Context, name string) (store.Path, store.Node, error) {
	candidates := []string{name}
	if !strings.HasPrefix(name, store.Dir+"/") {
		candidates = nil
		for _, e := range r.entries {
			if "/"+e.Name == name && e.Link != "" {
				candidates = append(candidates, e.Link)
			}
		}
		for _, p := range r.contents {
			candidates = append(candidates, p.Abs()+name)
		}
	}
	for _, c := range candidates {
		at, nd, err := store.Resolve(ctx, r.store, c)
		if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) {
			return at, nd, err
		}
	}
	return "", store.Node{}, nil
}

// read returns the text of a small file in the image; "" if there is no such file.
func (r rootView) read(ctx context.Context, name string) (string, error) {
	for _, e := range r.entries {
		if "/"+e.Name == name && e.Link == "" {
			return e.Data, nil
		}
	}
	at, nd, err := r.find(ctx, name)
	if err != nil || at == "" || nd.Kind != store.Regular {
		return "", err
	}
	data, err := store.ReadNode(ctx, r.store, at, nd, min(nd.Size, maxAccounts))
	return string(data), err
}
