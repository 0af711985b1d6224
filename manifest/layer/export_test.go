package layer

// LimitUnpacking sets how much more than its size in any case something may unpack to, in bytes.
func (m *Maker) LimitUnpacking(slack int64) { m.slack = slack }

// LimitIndexes sets how many bytes the indexes of gzipped archives may take.
func (m *Maker) LimitIndexes(weight int64) { m.indexed = weight }

// IndexesWeight is how many bytes they take.
func (m *Maker) IndexesWeight() int64 { return m.indexes.Weight() }
