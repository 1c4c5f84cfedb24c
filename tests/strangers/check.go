// Checks a log's files with golang.org/x/mod/sumdb alone: note opens the checkpoint, tlog verifies
// tiles against its root, each entry against its record hash, and earlier sizes against later ones.
// Arguments: the directory, the log's verifier key.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// files reads tiles where C2SP has them: without the height that Go puts first.
type files struct{ place string }

func (f files) Height() int                                    { return height }
func (f files) SaveTiles(tiles []tlog.Tile, data [][]byte) {}
func (f files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, t := range tiles {
		path := strings.TrimPrefix(t.Path(), "tile/"+strconv.Itoa(height)+"/")
		data, err := os.ReadFile(filepath.Join(f.place, "tile", path))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func must(err error) {
	if err != nil {
		fmt.Println("DISAGREE", err)
		os.Exit(1)
	}
}

func require(ok bool, why string) {
	if !ok {
		must(fmt.Errorf("%s", why))
	}
}

func entries(place string, size int64) [][]byte {
	var found [][]byte
	for n := int64(0); int64(len(found)) < size; n++ {
		tile := tlog.Tile{H: height, L: -1, N: n, W: 1 << height}
		if left := size - n<<height; left < 1<<height {
			tile.W = int(left)
		}
		path := strings.Replace(tile.Path(), "tile/"+strconv.Itoa(height)+"/data/", "entries/", 1)
		data, err := os.ReadFile(filepath.Join(place, "tile", path))
		must(err)
		for len(data) > 0 {
			require(len(data) >= 2, "a bundle is cut off")
			length := int(binary.BigEndian.Uint16(data))
			require(len(data) >= 2+length, "a bundle is cut off")
			found = append(found, data[2:2+length])
			data = data[2+length:]
		}
	}
	require(int64(len(found)) == size, "there are more entries than the checkpoint covers")
	return found
}

func main() {
	place, vkey := os.Args[1], os.Args[2]
	verifier, err := note.NewVerifier(vkey)
	must(err)
	data, err := os.ReadFile(filepath.Join(place, "checkpoint"))
	must(err)
	opened, err := note.Open(data, note.VerifierList(verifier))
	must(err)
	lines := strings.Split(opened.Text, "\n")
	require(len(lines) == 4 && lines[0] == verifier.Name(), "a checkpoint of another log")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	root, err := base64.StdEncoding.DecodeString(lines[2])
	must(err)
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], root)
	reader := tlog.TileHashReader(tree, files{place})
	for index, entry := range entries(place, size) {
		proof, err := tlog.ProveRecord(size, int64(index), reader)
		must(err)
		must(tlog.CheckRecord(proof, size, tree.Hash, int64(index), tlog.RecordHash(entry)))
	}
	for _, earlier := range []int64{1, size / 3, size / 2, size - 1, size} {
		if earlier > 0 {
			before, err := tlog.TreeHash(earlier, reader)
			must(err)
			proof, err := tlog.ProveTree(size, earlier, reader)
			must(err)
			must(tlog.CheckTree(proof, size, tree.Hash, earlier, before))
		}
	}
	fmt.Println("AGREE", size)
}
