//go:build unix

package channel

import (
	"io/fs"
	"syscall"
)

// inode is the number of the file, which a file that is renamed into its place does not share.
func inode(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}
