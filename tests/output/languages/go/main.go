// Reads one message in Avro's single object encoding with goavro and hamba/avro: reader SCHEMA MESSAGE
package main

import (
	"fmt"
	"os"

	"github.com/hamba/avro/v2"
	"github.com/hamba/avro/v2/soe"
	"github.com/linkedin/goavro/v2"
)

type answer struct {
	ObjectID string `avro:"object_id"`
	Candid   int64  `avro:"candid"`
	Observed int64  `avro:"observed"`
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	schema, err := os.ReadFile(os.Args[1])
	check(err)
	message, err := os.ReadFile(os.Args[2])
	check(err)

	codec, err := goavro.NewCodec(string(schema))
	check(err)
	native, _, err := codec.NativeFromSingle(message)
	check(err)
	fields := native.(map[string]interface{})
	fmt.Println(fields["object_id"], fields["candid"], fields["observed"])

	parsed, err := avro.Parse(string(schema))
	check(err)
	framed, err := soe.NewCodec(parsed)
	check(err)
	var found answer
	check(framed.Decode(message, &found))
	fmt.Println(found.ObjectID, found.Candid, found.Observed)
}
