//! Inputs to begin with.

use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int8Type;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

/// Inputs that are accepted, each with its target; targets that read a prefix get one.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let objects = [
        r#"{"device_id":"a","ts":1000,"temperature":1.5,"count":2,"ok":true}"#,
        r#" { "ts" : "2026-11-22T09:00:00.25Z", "device_id" : "\u00e9\ud83d\ude00\n\"" , "temperature" : -1e-3 } "#,
        r#"{"device\u005fid":"c","extra":{"deep":[1,{"x":null}]},"count":-9223372036854775808,"ok":null}"#,
        r#"{"device_id":"d","small":-128,"ratio":0.1,"price":"12.50","day":"2026-11-22"}"#,
        r#"{"device_id":"e","temperature":123456789012345678901234567890,"price":1.25}"#,
    ];
    let csv = concat!(
        "device_id,ts,temperature,count,ok,small,ratio,price,day\n",
        "a,1000,1.5,2,true,1,0.5,12.50,2026-11-22\r\n",
        "\"b, \"\"quoted\"\"\nline\",2026-11-22T09:00:00Z,,,,,,,\n",
    );
    let lines = concat!(
        "# a comment\n",
        "readings,device_id=a\\ b temperature=1.5,count=42i,ok=T 1795341600000000000\n",
        "cpux,device_id=a,zone=eu count=7u,text=\"say \\\"hi\\\"\nagain\"\n",
    );
    let mut seeds = vec![
        ("ndjson", [b"\x46\0", objects.join("\n").as_bytes()].concat()),
        ("json", format!("[{}]", objects.join(" ,")).into_bytes()),
        ("json", objects[0].as_bytes().to_vec()),
        ("csv", [b"\x60\0", csv.as_bytes()].concat()),
        ("line_protocol", [b"\0", lines.as_bytes()].concat()),
    ];
    seeds.extend(objects.map(|object| ("ndjson", [b"\0\0", object.as_bytes()].concat())));
    seeds.extend([None, Some(CompressionType::LZ4_FRAME)].map(|compression| ("arrow_stream", stream(compression))));
    seeds
}

fn stream(compression: Option<CompressionType>) -> Vec<u8> {
    let devices: DictionaryArray<Int8Type> = [Some("a"), Some("b"), Some("a")].into_iter().collect();
    let columns: [(&str, ArrayRef); 4] = [
        ("device_id", Arc::new(devices)),
        ("ts", Arc::new(StringArray::from(vec![Some("2026-11-22T09:00:00Z"), None, Some("1970-01-01 00:00:00")]))),
        ("temperature", Arc::new(Float64Array::from(vec![Some(1.5), None, Some(-0.0)]))),
        ("count", Arc::new(Int64Array::from(vec![1, 2, 3]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let options = IpcWriteOptions::default().try_with_compression(compression).expect("a known compression");
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).expect("into memory");
    writer.write(&batch).and_then(|()| writer.finish()).expect("into memory");
    writer.into_inner().expect("into memory")
}

/// Writes them into a folder for each target.
///
/// # Errors
/// A file that cannot be written.
pub fn write_seeds(folder: &Path) -> io::Result<()> {
    for (number, (target, bytes)) in seeds().into_iter().enumerate() {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(format!("seed-{number}")), bytes)?;
    }
    Ok(())
}
