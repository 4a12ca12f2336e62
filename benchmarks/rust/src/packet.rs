//! The fields of a packet that BOOM keeps, images included (boom-astro/boom 8ebd463, src/alert/ztf.rs).
//!
//! Versions of the schema differ in what may be null, and apache-avro makes an `Option` of a union alone: so what may be
//! null somewhere has a type of its own here.
#![allow(dead_code)] // read by serde alone

use serde::de::{Deserializer, Error, Visitor};
use serde::Deserialize;
use std::fmt;

/// NaN where it is null or left out.
#[derive(Clone, Copy)]
pub struct Number(pub f64);

/// Empty where it is null or left out.
#[derive(Default)]
pub struct Text(pub String);

impl Default for Number {
    fn default() -> Self {
        Number(f64::NAN)
    }
}

struct Numbers;

impl Visitor<'_> for Numbers {
    type Value = Number;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a number or null")
    }
    fn visit_unit<E: Error>(self) -> Result<Number, E> {
        Ok(Number::default())
    }
    fn visit_i32<E: Error>(self, value: i32) -> Result<Number, E> {
        Ok(Number(value.into()))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Number, E> {
        Ok(Number(value as f64))
    }
    fn visit_f32<E: Error>(self, value: f32) -> Result<Number, E> {
        Ok(Number(value.into()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Number, E> {
        Ok(Number(value))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Numbers)
    }
}

struct Texts;

impl Visitor<'_> for Texts {
    type Value = Text;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a text, a sign or null")
    }
    fn visit_unit<E: Error>(self) -> Result<Text, E> {
        Ok(Text::default())
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Text, E> {
        Ok(Text(value.to_string()))
    }
    fn visit_i32<E: Error>(self, value: i32) -> Result<Text, E> {
        Ok(Text(value.to_string()))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Text, E> {
        Ok(Text(value.to_string()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Texts)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    pub object_id: String,
    #[serde(default)]
    pub candid: i64, // some re-publications have it in `candidate` only
    #[serde(default)]
    pub schemavsn: Text,
    #[serde(default)]
    pub publisher: Text,
    pub candidate: Candidate,
    #[serde(rename = "prv_candidates", default)]
    pub prv_candidates: Option<Vec<Measurement>>,
    #[serde(rename = "fp_hists", default)]
    pub fp_hists: Option<Vec<ForcedMeasurement>>,
    #[serde(default)]
    pub cutout_science: Cutout,
    #[serde(default)]
    pub cutout_template: Cutout,
    #[serde(default)]
    pub cutout_difference: Cutout,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cutout {
    #[serde(default)]
    pub file_name: String,
    #[serde(default)]
    pub stamp_data: Bytes,
}

#[derive(Deserialize)]
pub struct Candidate {
    #[serde(default)]
    pub candid: i64,
    pub jd: f64,
    pub fid: i32,
    pub magpsf: f32,
    pub sigmapsf: f32,
    pub ra: f64,
    pub dec: f64,
    #[serde(default)]
    pub diffmaglim: Number,
    pub isdiffpos: Text,
    #[serde(default)]
    pub rb: Number,
    #[serde(default)]
    pub drb: Number,
    #[serde(default)]
    pub drbversion: Text,
    #[serde(default)]
    pub nbad: Number,
    #[serde(default)]
    pub fwhm: Number,
    #[serde(default)]
    pub elong: Number,
    #[serde(default)]
    pub magdiff: Number,
    #[serde(default)]
    pub distnr: Number,
    #[serde(default)]
    pub magnr: Number,
    #[serde(default)]
    pub sigmagnr: Number,
    #[serde(default)]
    pub chinr: Number,
    #[serde(default)]
    pub sharpnr: Number,
    #[serde(default)]
    pub ssdistnr: Number,
    #[serde(default)]
    pub ssmagnr: Number,
    #[serde(default)]
    pub sgscore1: Number,
    #[serde(default)]
    pub distpsnr1: Number,
    #[serde(default)]
    pub sgmag1: Number,
    #[serde(default)]
    pub srmag1: Number,
    #[serde(default)]
    pub simag1: Number,
    #[serde(default)]
    pub szmag1: Number,
    #[serde(default)]
    pub sgscore2: Number,
    #[serde(default)]
    pub distpsnr2: Number,
    #[serde(default)]
    pub sgmag2: Number,
    #[serde(default)]
    pub srmag2: Number,
    #[serde(default)]
    pub simag2: Number,
    #[serde(default)]
    pub szmag2: Number,
    #[serde(default)]
    pub sgscore3: Number,
    #[serde(default)]
    pub distpsnr3: Number,
    #[serde(default)]
    pub sgmag3: Number,
    #[serde(default)]
    pub srmag3: Number,
    #[serde(default)]
    pub simag3: Number,
    #[serde(default)]
    pub szmag3: Number,
    #[serde(default)]
    pub nmtchps: Number,
    #[serde(default)]
    pub neargaia: Number,
    #[serde(default)]
    pub maggaia: Number,
    #[serde(default)]
    pub neargaiabright: Number,
    #[serde(default)]
    pub maggaiabright: Number,
    #[serde(default)]
    pub pid: Number,
    #[serde(default)]
    pub programid: Number,
    #[serde(default)]
    pub nid: Number,
    #[serde(default)]
    pub rcid: Number,
    #[serde(default)]
    pub field: Number,
    #[serde(default)]
    pub chipsf: Number,
    #[serde(default)]
    pub magap: Number,
    #[serde(default)]
    pub sigmagap: Number,
    #[serde(default)]
    pub sky: Number,
    #[serde(default)]
    pub classtar: Number,
    #[serde(default)]
    pub mindtoedge: Number,
    #[serde(default)]
    pub seeratio: Number,
    #[serde(default)]
    pub aimage: Number,
    #[serde(default)]
    pub bimage: Number,
    #[serde(default)]
    pub nneg: Number,
    #[serde(default)]
    pub ranr: Number,
    #[serde(default)]
    pub decnr: Number,
    #[serde(default)]
    pub ndethist: Number,
    #[serde(default)]
    pub ncovhist: Number,
    #[serde(default)]
    pub jdstarthist: Number,
    #[serde(default)]
    pub scorr: Number,
    #[serde(default)]
    pub dsnrms: Number,
    #[serde(default)]
    pub ssnrms: Number,
    #[serde(default)]
    pub dsdiff: Number,
    #[serde(default)]
    pub magzpsci: Number,
    #[serde(default)]
    pub magzpsciunc: Number,
    #[serde(default)]
    pub magzpscirms: Number,
    #[serde(default)]
    pub zpmed: Number,
    #[serde(default)]
    pub exptime: Number,
    #[serde(default)]
    pub clrcoeff: Number,
    #[serde(default)]
    pub clrcounc: Number,
    #[serde(default)]
    pub programpi: Text,
    #[serde(default)]
    pub ssnamenr: Text,
}

/// Empty where it is null or left out.
#[derive(Default)]
pub struct Bytes(pub Vec<u8>);

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("bytes or null")
    }
    fn visit_unit<E: Error>(self) -> Result<Bytes, E> {
        Ok(Bytes::default())
    }
    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes(value.to_vec()))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor)
    }
}

/// A detection or an upper limit.
#[derive(Deserialize)]
pub struct Measurement {
    pub jd: f64,
    pub fid: i32,
    #[serde(default)]
    pub candid: Option<i64>,
    #[serde(default)]
    pub magpsf: Number,
    #[serde(default)]
    pub sigmapsf: Number,
    #[serde(default)]
    pub diffmaglim: Number,
    #[serde(default)]
    pub magnr: Number,
    #[serde(default)]
    pub isdiffpos: Text,
    #[serde(default)]
    pub pid: Number,
    #[serde(default)]
    pub programid: Number,
    #[serde(default)]
    pub nid: Number,
    #[serde(default)]
    pub rcid: Number,
    #[serde(default)]
    pub field: Number,
    #[serde(default)]
    pub ra: Number,
    #[serde(default)]
    pub dec: Number,
    #[serde(default)]
    pub chipsf: Number,
    #[serde(default)]
    pub magap: Number,
    #[serde(default)]
    pub sigmagap: Number,
    #[serde(default)]
    pub distnr: Number,
    #[serde(default)]
    pub sigmagnr: Number,
    #[serde(default)]
    pub chinr: Number,
    #[serde(default)]
    pub sharpnr: Number,
    #[serde(default)]
    pub sky: Number,
    #[serde(default)]
    pub fwhm: Number,
    #[serde(default)]
    pub mindtoedge: Number,
    #[serde(default)]
    pub seeratio: Number,
    #[serde(default)]
    pub aimage: Number,
    #[serde(default)]
    pub bimage: Number,
    #[serde(default)]
    pub elong: Number,
    #[serde(default)]
    pub nneg: Number,
    #[serde(default)]
    pub nbad: Number,
    #[serde(default)]
    pub rb: Number,
    #[serde(default)]
    pub ssdistnr: Number,
    #[serde(default)]
    pub ssmagnr: Number,
    #[serde(default)]
    pub ranr: Number,
    #[serde(default)]
    pub decnr: Number,
    #[serde(default)]
    pub scorr: Number,
    #[serde(default)]
    pub magzpsci: Number,
    #[serde(default)]
    pub programpi: Text,
    #[serde(default)]
    pub ssnamenr: Text,
}

#[derive(Deserialize)]
pub struct ForcedMeasurement {
    pub jd: f64,
    pub fid: i32,
    #[serde(default)]
    pub forcediffimflux: Number,
    #[serde(default)]
    pub forcediffimfluxunc: Number,
    #[serde(default)]
    pub magzpsci: Number,
    #[serde(default)]
    pub diffmaglim: Number,
    #[serde(default)]
    pub magnr: Number,
    #[serde(default)]
    pub procstatus: Text,
    #[serde(default)]
    pub field: Number,
    #[serde(default)]
    pub rcid: Number,
    #[serde(default)]
    pub pid: Number,
    #[serde(default)]
    pub rfid: Number,
    #[serde(default)]
    pub magzpsciunc: Number,
    #[serde(default)]
    pub magzpscirms: Number,
    #[serde(default)]
    pub exptime: Number,
    #[serde(default)]
    pub programid: Number,
    #[serde(default)]
    pub distnr: Number,
    #[serde(default)]
    pub sigmagnr: Number,
    #[serde(default)]
    pub chinr: Number,
    #[serde(default)]
    pub sharpnr: Number,
}
