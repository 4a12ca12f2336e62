// Reads one message in Avro's single object encoding with Apache's own library: reader SCHEMA MESSAGE
use apache_avro::{types::Value, GenericSingleObjectReader, Schema};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let schema = Schema::parse_str(&std::fs::read_to_string(&arguments[1]).unwrap()).unwrap();
    let message = std::fs::read(&arguments[2]).unwrap();
    let reader = GenericSingleObjectReader::new(schema).unwrap();
    let Value::Record(fields) = reader.read_value(&mut &message[..]).unwrap() else { panic!("no record") };
    let find = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap();
    let (Value::String(object), Value::Long(candid), Value::Long(observed)) =
        (find("object_id"), find("candid"), find("observed"))
    else { panic!("other types") };
    println!("{object} {candid} {observed}");
}
