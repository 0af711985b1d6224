package layer

// LimitUnpacking sets how much more than its size in any case something may unpack to, in bytes.
func (m *Maker) LimitUnpacking(slack int64) { m.slack = slack }
