// Package spell finds the word that a misspelled one was meant to be, for the "did you mean" of errors and warnings.
//
// It knows the distance between words and nothing of what they name. It owns no list of words.
package spell

import (
	"iter"
	"math/bits"
	"strings"
)

// maxWord bounds the words that are compared, in bytes. A longer word has no near one.
const maxWord = 64

// maxDistance bounds how many letters may differ in a long word.
const maxDistance = 3

// Near returns the one of words that is nearest to word, the first of several; "" if none is near. Upper and lower case, dashes
// and underscores count as nothing. A word is near if at most a third of its letters differ, and three at most, by optimal string
// alignment: a letter more, less, another, or two swapped.
func Near(word string, words iter.Seq[string]) string {
	best, least := "", maxWord
	plain := fold(word)
	if plain == "" {
		return ""
	}
	letters := lettersOf(word)
	for w := range words {
		limit := min(least-1, len(w)/3, maxDistance)
		if len(w)-len(plain) > limit+strings.Count(w, "-")+strings.Count(w, "_") || len(plain)-len(w) > limit {
			continue
		}
		if l := lettersOf(w); bits.OnesCount32(l&^letters) > limit || bits.OnesCount32(letters&^l) > limit {
			continue // each difference changes one letter
		}
		known := fold(w)
		limit = min(limit, len(known)/3)
		if d := distance(plain, known, limit); d <= limit && d < len(plain) {
			best, least = w, d
		}
		if least == 0 {
			break
		}
	}
	return best
}

// DidYouMean is the end of an error about word: ": did you mean BEST?", or "" if no word is near.
func DidYouMean(word string, words iter.Seq[string]) string {
	if best := Near(word, words); best != "" {
		return ": did you mean " + best + "?"
	}
	return ""
}

// fold is a word as it is compared: ASCII in lower case without dashes; "" for one that is too long.
func fold(s string) string {
	if len(s) > maxWord {
		return ""
	}
	out := make([]byte, 0, maxWord)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '-' || c == '_':
		case 'A' <= c && c <= 'Z':
			out = append(out, c+'a'-'A')
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

// lettersOf is the set of a word's bytes, as far as their last five bits tell them apart: upper and lower case are one.
func lettersOf(s string) (set uint32) {
	for i := range len(s) {
		if s[i] != '-' && s[i] != '_' {
			set |= 1 << (s[i] & 0x1f)
		}
	}
	return set
}

// distance is the optimal string alignment distance of two words; where it is more than limit, any number above that.
func distance(a, b string, limit int) int {
	const far = maxWord + 1
	var rows [3][maxWord + 2]uint8
	before, last, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = uint8(j)
	}
	for i := range len(a) {
		from, to := max(0, i-limit), min(len(b), i+limit+1) // outside of this band the distance is above limit
		row[from] = far
		if from == 0 {
			row[0] = uint8(i + 1)
		}
		least := row[from]
		for j := from; j < to; j++ {
			d := last[j]
			if a[i] != b[j] {
				d++
			}
			d = min(d, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, before[j-1]+1)
			}
			row[j+1] = d
			least = min(least, d)
		}
		row[to+1] = far
		if int(least) > limit+1 { // a swap may still take one off
			return far
		}
		before, last, row = last, row, before
	}
	return int(last[len(b)])
}
