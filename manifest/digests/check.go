package digests

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
)

const (
	maxTableFile = 1 << 30 // bytes
	discardUnit  = 1 << 20 // the length of badger's DISCARD file is a multiple
	logHeaderLen = 20      // of a .mem or .vlog file
	logEntryTail = 4       // checksum after an entry
)

// checkFiles finds damage for which badger would end the process, in goroutines of its own where recover is impossible, and repairs files
// without records. dir must be locked. Damage for which badger returns an error is left to badger.
func checkFiles(dir string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("check panicked: %v", r)
		}
	}()
	if err := dropEmptyFiles(dir); err != nil {
		return err
	}
	if err := cutLogs(dir); err != nil {
		return err
	}
	return checkTables(dir)
}

// dropEmptyFiles removes files that a killed process made and did not fill: badger stops at an empty log. DISCARD has statistics; one
// with a wrong size makes badger's compaction panic.
func dropEmptyFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, size := e.Name(), info.Size()
		empty := size == 0 && (strings.HasSuffix(name, ".mem") || strings.HasSuffix(name, ".vlog"))
		odd := name == "DISCARD" && (size < discardUnit || size%discardUnit != 0 || !info.Mode().IsRegular())
		stray := strings.HasPrefix(name, "probe-") && strings.HasSuffix(name, ".tmp")
		if empty || odd || stray {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// cutLogs cuts the logs that badger replays (each .mem and the last .vlog) before the first entry whose lengths do not fit the file:
// badger would allocate these lengths, and would stop there as well.
func cutLogs(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var logs []string
	lastValues := ""
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".mem":
			logs = append(logs, e.Name())
		case ".vlog":
			lastValues = e.Name() // sorted, and the numbers have leading zeros
		}
	}
	if lastValues != "" {
		logs = append(logs, lastValues)
	}
	for _, name := range logs {
		if err := cutLog(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func cutLog(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for off := int64(logHeaderLen); off < info.Size(); {
		n, err := entryLen(f, off, info.Size())
		if errors.Is(err, fs.ErrInvalid) {
			return f.Truncate(off)
		}
		if n == 0 || err != nil {
			return err
		}
		off += n
	}
	return nil
}

// entryLen is the length of the log entry at off; 0 at the end of the entries. An entry that does not fit the file gives an error
// matching [fs.ErrInvalid].
//
// Source: badger/v4, structs.go, header.Encode.
func entryLen(r io.ReaderAt, off, size int64) (int64, error) {
	var buf [32]byte
	n, err := r.ReadAt(buf[:], off)
	if err != nil && err != io.EOF {
		return 0, err
	}
	head := buf[:n]
	if len(head) < 2 {
		return 0, fs.ErrInvalid
	}
	at := 2 // meta, user meta
	var v [3]uint64
	for i := range v { // key length, value length, expiry
		x, n := binary.Uvarint(head[at:])
		if n <= 0 {
			return 0, fs.ErrInvalid
		}
		v[i], at = x, at+n
	}
	klen, vlen := v[0], v[1]
	if klen == 0 && vlen == 0 {
		return 0, nil
	}
	if klen > math.MaxUint16+1 || vlen > uint64(size) || off+int64(at)+int64(klen+vlen)+logEntryTail > size {
		return 0, fs.ErrInvalid
	}
	return int64(at) + int64(klen+vlen) + logEntryTail, nil
}

// checkTables reads every table in the manifest and checks its checksums. badger removes other tables.
func checkTables(dir string) error {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	quiet := badgerOptions(dir, &badgerLog{log: slog.New(slog.DiscardHandler)})
	m, _, err := badger.ReplayManifestFile(f, 0, quiet)
	if err != nil {
		return err
	}
	for id, t := range m.Tables {
		if t.Level >= maxLevels || t.KeyID != 0 || t.Compression != options.None {
			return fmt.Errorf("table %d: level %d, key %d, compression %d: not ours", id, t.Level, t.KeyID, t.Compression)
		}
		if err := checkTable(table.NewFilename(id, dir), id); err != nil {
			return fmt.Errorf("table %d: %w", id, err)
		}
	}
	return nil
}

func checkTable(name string, id uint64) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0) // as badger opens it
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTableFile+1))
	if err != nil {
		return err
	}
	if err := checkFooter(data); err != nil {
		return err
	}
	t, err := table.OpenInMemoryTable(data, id, &table.Options{ChkMode: options.NoVerification})
	if err != nil {
		return err
	}
	return t.VerifyChecksum()
}

// checkFooter checks that the lengths at the end of a table fit it, where badger has an assertion. From the end: length of checksum,
// checksum, length of index, index.
//
// Source: badger/v4, table/table.go, Table.initIndex.
func checkFooter(data []byte) error {
	if len(data) > maxTableFile {
		return fmt.Errorf("larger than %d bytes", maxTableFile)
	}
	rest := data
	for _, part := range []string{"checksum", "index"} {
		if len(rest) < 4 {
			return fmt.Errorf("cut off before the length of its %s", part)
		}
		n := int64(binary.BigEndian.Uint32(rest[len(rest)-4:]))
		rest = rest[:len(rest)-4]
		if n > int64(len(rest)) {
			return fmt.Errorf("%s of %d bytes does not fit", part, n)
		}
		rest = rest[:int64(len(rest))-n]
	}
	return nil
}
