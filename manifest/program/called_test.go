package program

import (
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// TestCalled has packages of nixpkgs with programs of them. Where the rule is wrong or has no answer, the last column says which
// program nixpkgs calls the main one.
func TestCalled(t *testing.T) {
	for _, c := range []struct{ name, programs, want, nixpkgs string }{
		{"ansible-core", "ansible ansible-config ansible-playbook", "ansible", ""},
		{"awscli2", "aws aws_completer", "aws", ""},
		{"bash-interactive", "bash bashbug", "bash", ""},
		{"bcachefs-tools", "bcachefs fsck.bcachefs mkfs.bcachefs", "bcachefs", ""},
		{"btrfs-progs", "btrfs btrfsck mkfs.btrfs", "btrfs", ""},
		{"clang-wrapper", "c++ cc clang clang++ cpp", "clang", ""},
		{"diffutils", "cmp diff diff3 sdiff", "diff", ""},
		{"docker-client", "docker docker-compose", "docker", ""},
		{"emacs-nox", "ctags ebrowse emacs emacsclient etags", "emacs", ""},
		{"ffmpeg-headless", "ffmpeg ffprobe", "ffmpeg", ""},
		{"findutils", "find locate updatedb xargs", "find", ""},
		{"firefox-unwrapped", "firefox firefox-bin", "firefox", ""},
		{"gcc-wrapper", "c++ cc cpp g++ gcc", "gcc", ""},
		{"git-minimal", "git git-receive-pack git-shell", "git", ""},
		{"kexec-tools", "kexec vmcore-dmesg", "kexec", ""},
		{"libreoffice-fresh", "libreoffice localc lowriter", "libreoffice", ""},
		{"nodejs", "corepack node npm npx", "node", ""},
		{"nodejs-slim", "corepack node", "node", ""},
		{"php-with-extensions", "pear php php-cgi phpize", "php", ""},
		{"python3-minimal", "idle3 pydoc3 python python3 python3.12", "python3", ""},
		{"vim-full", "ex vim vimdiff vimtutor", "vim", ""},
		{"mariadb-server", "mariadb mariadb-admin mariadbd", "mariadb", "mariadbd"},

		{"binutils-wrapper", "ar as ld nm objdump", "", "none"},
		{"coreutils-full", "cat cp ls [", "", "none"},
		{"gnupg", "gpg gpg-agent gpgv", "", "gpg"},
		{"ghostscript-with-X", "dvipdf eps2eps gs", "", "gs"},
		{"imagemagick", "convert identify magick", "", "magick"},
		{"influxdb", "influx influxd", "", "influxd"},
		{"neovim-unwrapped", "nvim nvim-gdb", "", "nvim"},
		{"openjdk", "java javac jshell", "", "java"},
		{"postgresql", "createdb postgres psql", "", "postgres"},
		{"qemu-host-cpu-only", "qemu-img qemu-nbd", "", "none"},
		{"redis", "redis-cli redis-server", "", "redis-server"},
		{"texlive", "latex pdftex tex", "", "none"},
		{"ruby3.3-bundler", "bundle bundler", "", "bundle"},
		{"sdl2-compat", "sd sdl2-config", "", "none"}, // sd has two letters
		{"util-linux-minimal", "lsblk mount", "", "none"},
		{"xorg-server", "X Xorg cvt", "", "Xorg"},
	} {
		m, files := storetest.New(), storetest.Files{}
		for p := range strings.FieldsSeq(c.programs) {
			files["bin/"+p] = storetest.Exec("")
		}
		p := m.Add(c.name+"-1.0", files)
		want := ""
		if c.want != "" {
			want = p.Abs() + "/bin/" + c.want
		}
		if got, err := Called(t.Context(), m, []store.Path{p}, c.name); got != want || err != nil {
			t.Errorf("%s of %s is %q, %v", c.name, c.programs, got, err)
		}
	}
}

// A file that is no program is passed over.
func TestCalledNoProgram(t *testing.T) {
	m := storetest.New()
	p := m.Add("bash-5-interactive", storetest.Files{"bin/bash": storetest.File(""), "bin/bas": storetest.Exec("")})
	if got, err := Called(t.Context(), m, []store.Path{p}, "bas-interactive"); got != p.Abs()+"/bin/bas" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := Called(t.Context(), m, []store.Path{p}, "bash-interactive"); got != "" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
