// Reads one message in Avro's single object encoding with Apache's own library: java -cp JARS Reader.java SCHEMA MESSAGE
import java.nio.file.*;
import org.apache.avro.*;
import org.apache.avro.generic.*;
import org.apache.avro.message.*;

public class Reader {
    public static void main(String[] arguments) throws Exception {
        Schema schema = new Schema.Parser().parse(Files.readString(Path.of(arguments[0])));
        var decoder = new BinaryMessageDecoder<GenericRecord>(GenericData.get(), schema);
        GenericRecord record = decoder.decode(Files.readAllBytes(Path.of(arguments[1])));
        System.out.println(record.get("object_id") + " " + record.get("candid") + " " + record.get("observed"));
    }
}
