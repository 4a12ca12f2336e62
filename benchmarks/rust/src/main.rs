//! Decodes ZTF packets as BOOM does: apache-avro with the writer's schema kept from one packet to the
//! next, its generic value first, then serde into typed records.
//!
//! `decode FILE`: FILE holds packets, each behind its length (4 bytes, little endian). For each line of standard input
//! every packet is decoded once, and one line is printed: a word per packet, `NANOSECONDS:CANDID:ROWS`, where ROWS counts
//! the history, or `-` for a packet that could not be decoded.
mod packet;

use apache_avro::{from_avro_datum, from_value, Codec, Reader, Schema};
use packet::Alert;
use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What packets that begin with the same bytes have in common.
struct Known {
    /// Everything up to the sync marker.
    prefix: Vec<u8>,
    schema: Schema,
    codec: Codec,
}

fn main() -> Result<()> {
    let file = std::env::args().nth(1).ok_or("which FILE?")?;
    let bytes = std::fs::read(file)?;
    let packets = split(&bytes);
    let mut known: Vec<Known> = Vec::new();
    for line in std::io::stdin().lock().lines() {
        line?;
        let words: Vec<String> = packets.iter().map(|packet| timed(packet, &mut known)).collect();
        println!("{}", words.join(" "));
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    while let Some((size, rest)) = bytes.split_first_chunk::<4>() {
        let (packet, behind) = rest.split_at(u32::from_le_bytes(*size) as usize);
        packets.push(packet);
        bytes = behind;
    }
    packets
}

fn timed(packet: &[u8], known: &mut Vec<Known>) -> String {
    let started = Instant::now();
    let alert = decode(packet, known);
    let nanoseconds = started.elapsed().as_nanos();
    match alert {
        Ok(alert) => {
            let alert = std::hint::black_box(alert);
            let candid = if alert.candid == 0 { alert.candidate.candid } else { alert.candid };
            format!("{nanoseconds}:{candid}:{}", alert.prv_candidates.map_or(0, |rows| rows.len()))
        }
        Err(error) => {
            eprintln!("{error}");
            "-".to_string()
        }
    }
}

fn decode(packet: &[u8], known: &mut Vec<Known>) -> Result<Alert> {
    let place = match known.iter().position(|known| packet.starts_with(&known.prefix)) {
        Some(place) => place,
        None => {
            known.push(header(packet)?);
            known.len() - 1
        }
    };
    known.swap(0, place); // the newest first: packets of one schema mostly follow one another
    let Known { prefix, schema, codec } = &known[0];
    let mut block = packet.get(prefix.len() + 16..).ok_or("the packet ends in its header")?;
    if long(&mut block)? != 1 {
        return Err("a packet has one record".into());
    }
    let size = usize::try_from(long(&mut block)?)?;
    let record = block.get(..size).ok_or("the packet ends in its record")?;
    let value = match codec {
        Codec::Null => from_avro_datum(schema, &mut &record[..], None)?,
        codec => {
            let mut unpacked = record.to_vec();
            codec.decompress(&mut unpacked)?;
            from_avro_datum(schema, &mut &unpacked[..], None)?
        }
    };
    Ok(from_value::<Alert>(&value)?)
}

/// Reads the header of a container file: a map of bytes behind the magic.
fn header(packet: &[u8]) -> Result<Known> {
    let mut rest = packet.get(4..).ok_or("the packet ends in its magic")?;
    let mut codec = Codec::Null;
    loop {
        let count = long(&mut rest)?;
        if count == 0 {
            break;
        }
        if count < 0 {
            long(&mut rest)?; // then the map's size in bytes comes first
        }
        for _ in 0..count.unsigned_abs() {
            let key = bytes(&mut rest)?;
            let value = bytes(&mut rest)?;
            if key == b"avro.codec" {
                codec = match value {
                    b"null" => Codec::Null,
                    b"deflate" => Codec::Deflate(Default::default()),
                    b"snappy" => Codec::Snappy,
                    _ => return Err("another codec".into()),
                };
            }
        }
    }
    let prefix = packet[..packet.len() - rest.len()].to_vec();
    let schema = Reader::new(packet)?.writer_schema().clone();
    Ok(Known { prefix, schema, codec })
}

/// A zigzag varint.
fn long(rest: &mut &[u8]) -> Result<i64> {
    let mut bits = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, behind) = rest.split_first().ok_or("the packet ends in a number")?;
        *rest = behind;
        bits |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
        }
    }
    Err("a number of more than ten bytes".into())
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let size = usize::try_from(long(rest)?)?;
    let (taken, behind) = rest.split_at_checked(size).ok_or("the packet ends in its header")?;
    *rest = behind;
    Ok(taken)
}
