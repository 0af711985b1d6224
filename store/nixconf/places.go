package nixconf

import (
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// environment are the variables.
type environment func(string) (string, bool)

// value returns a variable that is set to something.
func (e environment) value(name string) (string, bool) {
	v, _ := e(name)
	return v, v != ""
}

// files are the configuration files, the one with the last word last.
//
// Source: NixOS/nix src/libstore/globals.cc, nixUserConfFiles and loadConfFile; src/libutil/users.cc, getConfigDirs.
func (e environment) files() []string {
	var users []string // the one with the last word first
	if list, ok := e("NIX_USER_CONF_FILES"); ok {
		users = split(list)
	} else {
		for _, dir := range e.configDirs() {
			users = append(users, filepath.Join(dir, "nix.conf"))
		}
	}
	slices.Reverse(users)
	return append([]string{filepath.Join(e.confDir(), "nix.conf")}, users...)
}

// confDir is the directory of the system's configuration.
func (e environment) confDir() string {
	if dir, ok := e.value("NIX_CONF_DIR"); ok {
		return dir
	}
	return "/etc/nix"
}

// configDirs are the directories of the user's configuration, his own first.
func (e environment) configDirs() []string {
	var dirs []string
	if dir, ok := e.value("NIX_CONFIG_HOME"); ok {
		dirs = append(dirs, dir)
	} else if dir, ok := e.value("XDG_CONFIG_HOME"); ok {
		dirs = append(dirs, filepath.Join(dir, "nix"))
	} else if home := e.home(); home != "" {
		dirs = append(dirs, filepath.Join(home, ".config", "nix"))
	}
	shared, ok := e.value("XDG_CONFIG_DIRS")
	if !ok {
		shared = "/etc/xdg"
	}
	for _, dir := range split(shared) {
		dirs = append(dirs, filepath.Join(dir, "nix"))
	}
	return dirs
}

// home is the user's home directory; "" if there is none. $HOME is not believed where it is somebody else's, as after sudo.
//
// Source: NixOS/nix src/libutil/unix/users.cc, getHome.
func (e environment) home() string {
	home, ok := e.value("HOME")
	if ok && !foreign(home) {
		return home
	}
	if u, err := user.Current(); err == nil {
		return u.HomeDir
	}
	return ""
}

func foreign(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) != os.Geteuid()
}

// split takes a list of paths apart, without those that are empty.
func split(list string) []string {
	return slices.DeleteFunc(strings.Split(list, ":"), func(s string) bool { return s == "" })
}
