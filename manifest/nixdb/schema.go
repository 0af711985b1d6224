package nixdb

import (
	"cmp"
	"slices"
	"strings"
)

// The statements of Nix's schema. The table sqlite_sequence and the indexes without a statement are SQLite's own.
//
// Source: Nix 2.8, libstore/schema.sql.
const (
	createValidPaths = `CREATE TABLE ValidPaths (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, ` +
		`path TEXT UNIQUE NOT NULL, hash TEXT NOT NULL, registrationTime INTEGER NOT NULL, ` +
		`deriver TEXT, narSize INTEGER, ultimate INTEGER, sigs TEXT, ca TEXT)`

	createSequence = `CREATE TABLE sqlite_sequence(name,seq)`

	createRefs = `CREATE TABLE Refs (referrer INTEGER NOT NULL, reference INTEGER NOT NULL, ` +
		`PRIMARY KEY (referrer, reference), ` +
		`FOREIGN KEY (referrer) REFERENCES ValidPaths(id) ON DELETE CASCADE, ` +
		`FOREIGN KEY (reference) REFERENCES ValidPaths(id) ON DELETE RESTRICT)`

	createReferrers  = `CREATE INDEX IndexReferrer ON Refs(referrer)`
	createReferences = `CREATE INDEX IndexReference ON Refs(reference)`

	createDeleteSelfRefs = `CREATE TRIGGER DeleteSelfRefs BEFORE DELETE ON ValidPaths BEGIN ` +
		`DELETE FROM Refs WHERE referrer = old.id AND reference = old.id; END`

	createOutputs = `CREATE TABLE DerivationOutputs (drv INTEGER NOT NULL, id TEXT NOT NULL, path TEXT NOT NULL, ` +
		`PRIMARY KEY (drv, id), FOREIGN KEY (drv) REFERENCES ValidPaths(id) ON DELETE CASCADE)`

	createOutputPaths = `CREATE INDEX IndexDerivationOutputs ON DerivationOutputs(path)`
)

// registered is the registration time of every path, in Unix seconds: a digest must not depend on the time.
const registered = 1

// database writes the tables, each with its indexes after it, and then the schema with the pages of their roots.
func (c *closure) database() ([]byte, error) {
	f := newFile(c.size())
	s := schema{page: newPage(tableLeaf, fileHeader)}
	s.add("table", "ValidPaths", "ValidPaths", c.validPaths(f), createValidPaths)
	s.add("index", "sqlite_autoindex_ValidPaths_1", "ValidPaths", c.pathIndex(f), "")
	s.add("table", "sqlite_sequence", "sqlite_sequence", c.sequence(f), createSequence)
	s.add("table", "Refs", "Refs", c.references(f), createRefs)
	s.add("index", "sqlite_autoindex_Refs_1", "Refs", c.pairIndex(f), "")
	s.add("index", "IndexReferrer", "Refs", c.referrerIndex(f), createReferrers)
	s.add("index", "IndexReference", "Refs", c.referenceIndex(f), createReferences)
	s.add("trigger", "DeleteSelfRefs", "ValidPaths", 0, createDeleteSelfRefs)
	s.add("table", "DerivationOutputs", "DerivationOutputs", newTree(f, tableLeaf).finish(), createOutputs)
	s.add("index", "sqlite_autoindex_DerivationOutputs_1", "DerivationOutputs", newTree(f, indexLeaf).finish(), "")
	s.add("index", "IndexDerivationOutputs", "DerivationOutputs", newTree(f, indexLeaf).finish(), createOutputPaths)
	return f.finish(s.page.bytes())
}

// size returns about the size of the database. A path is written twice, a reference four times in at most 16 bytes, and pages of
// long rows are not full.
func (c *closure) size() int {
	n := 0
	for _, p := range c.paths {
		n += 2*len(p.Path) + len(p.NarHash) + len(p.Deriver) + len(p.CA) + 50
		for _, s := range p.Sigs {
			n += len(s) + 1
		}
	}
	return 16*pageSize + n + n/16 + 4*16*len(c.refs)
}

// schema is the table sqlite_schema in the first page. It always fits, because only the page numbers in it vary.
type schema struct {
	page *page
	rec  record
	cell []byte
}

func (s *schema) add(kind, name, table string, root uint32, create string) {
	row := s.rec.reset().text(kind).text(name).text(table).int(int64(root)).textOrNull(create).bytes()
	s.cell = appendVarint(s.cell[:0], uint64(len(row)))
	s.cell = appendVarint(s.cell, uint64(s.page.cells+1))
	s.page.push(append(s.cell, row...))
}

func (c *closure) validPaths(f *file) uint32 {
	t, rec := newTree(f, tableLeaf), record{}
	for i, p := range c.paths {
		rec.reset().null() // the id is the key of the row
		rec.text(p.Path).text(p.NarHash).int(registered).textOrNull(p.Deriver)
		if p.NarSize > 0 {
			rec.int(p.NarSize)
		} else {
			rec.null()
		}
		rec.null() // ultimate
		t.row(int64(i+1), rec.textOrNull(strings.Join(p.Sigs, " ")).textOrNull(p.CA).bytes())
	}
	return t.finish()
}

func (c *closure) pathIndex(f *file) uint32 {
	t, rec := newTree(f, indexLeaf), record{}
	for i, p := range c.paths {
		t.entry(rec.reset().text(p.Path).int(int64(i + 1)).bytes())
	}
	return t.finish()
}

// sequence has the highest id that was given out, if there is one.
func (c *closure) sequence(f *file) uint32 {
	t, rec := newTree(f, tableLeaf), record{}
	if len(c.paths) > 0 {
		t.row(1, rec.text("ValidPaths").int(int64(len(c.paths))).bytes())
	}
	return t.finish()
}

func (c *closure) references(f *file) uint32 {
	t, rec := newTree(f, tableLeaf), record{}
	for i, r := range c.refs {
		t.row(int64(i+1), rec.reset().int(int64(r.referrer)).int(int64(r.reference)).bytes())
	}
	return t.finish()
}

func (c *closure) pairIndex(f *file) uint32 {
	t, rec := newTree(f, indexLeaf), record{}
	for i, r := range c.refs {
		t.entry(rec.reset().int(int64(r.referrer)).int(int64(r.reference)).int(int64(i + 1)).bytes())
	}
	return t.finish()
}

func (c *closure) referrerIndex(f *file) uint32 {
	t, rec := newTree(f, indexLeaf), record{}
	for i, r := range c.refs {
		t.entry(rec.reset().int(int64(r.referrer)).int(int64(i + 1)).bytes())
	}
	return t.finish()
}

func (c *closure) referenceIndex(f *file) uint32 {
	rows := make([]uint32, len(c.refs))
	for i := range rows {
		rows[i] = uint32(i + 1)
	}
	slices.SortFunc(rows, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(c.refs[a-1].reference, c.refs[b-1].reference), cmp.Compare(a, b))
	})
	t, rec := newTree(f, indexLeaf), record{}
	for _, row := range rows {
		t.entry(rec.reset().int(int64(c.refs[row-1].reference)).int(int64(row)).bytes())
	}
	return t.finish()
}
