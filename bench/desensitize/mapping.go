// Benthos as a peer: the engine of Redpanda Connect, its mapping only, on one core.
//
//	mapping INPUT OUTPUT KEY
//
// Input and output: u32 count, then u32 length and bytes each, little-endian. Maps everything once and writes it, says
// "ready", then for each line "MS" on standard input maps for that long and answers with records a second.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
)

const mapping = `
root = this
root.name = this.name.slice(0, 1) + this.name.slice(1).re_replace_all("(?s).", "*")
root.email = this.email.hash("hmac_sha256", %q).encode("hex")
root.phone = this.phone.hash("hmac_sha256", %q).encode("hex")
root.note = "removed"
`

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func readItems(path string) [][]byte {
	data, err := os.ReadFile(path)
	check(err)
	count := int(binary.LittleEndian.Uint32(data))
	items := make([][]byte, count)
	at := 4
	for i := range items {
		length := int(binary.LittleEndian.Uint32(data[at:]))
		items[i] = data[at+4 : at+4+length]
		at += 4 + length
	}
	return items
}

func writeItems(path string, items [][]byte) {
	data := binary.LittleEndian.AppendUint32(nil, uint32(len(items)))
	for _, item := range items {
		data = binary.LittleEndian.AppendUint32(data, uint32(len(item)))
		data = append(data, item...)
	}
	check(os.WriteFile(path, data, 0o600))
}

func main() {
	runtime.GOMAXPROCS(1)
	items := readItems(os.Args[1])
	executor, err := bloblang.Parse(fmt.Sprintf(mapping, os.Args[3], os.Args[3]))
	check(err)
	outputs := make([][]byte, len(items))
	runAll := func() {
		for i, item := range items {
			mapped, err := service.NewMessage(item).BloblangQuery(executor)
			check(err)
			outputs[i], err = mapped.AsBytes()
			check(err)
		}
	}
	runAll()
	writeItems(os.Args[2], outputs)
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var turnMs float64
		_, err := fmt.Sscan(lines.Text(), &turnMs)
		check(err)
		start := time.Now()
		runs := 0
		for time.Since(start).Seconds()*1000 < turnMs {
			runAll()
			runs++
		}
		fmt.Println(float64(runs*len(items)) / time.Since(start).Seconds())
	}
}
