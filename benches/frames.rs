//! What finding the end of a server's response costs: headers and first bytes are looked at, rows are not.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::net::buffer::BUFFER_BYTES;
use weir::net::response::{Event, Shape, Walker};
use weir::wire::{Capabilities, ColumnDefinition, StatusFlags, encode_text_result};

const CAPABILITIES: Capabilities =
    Capabilities(Capabilities::PROTOCOL_41.0 | Capabilities::DEPRECATE_EOF.0);

/// A response to COM_QUERY: `rows` rows of one value of `bytes` bytes.
fn response(rows: usize, bytes: usize) -> Vec<u8> {
    let columns = [ColumnDefinition::text("c")];
    let rows = vec![vec![Some(vec![b'x'; bytes])]; rows];
    let mut out = Vec::new();
    encode_text_result(&mut out, &mut 1, CAPABILITIES, StatusFlags::default(), &columns, &rows);
    out
}

/// Walks as the relay does: what one read brings is passed on before the next is looked at.
fn walk(bytes: &[u8]) -> u64 {
    let mut walker = Walker::new(Shape::Query, CAPABILITIES, 1);
    let mut at = 0;
    while !walker.is_done() {
        let read = bytes.get(at..bytes.len().min(at + BUFFER_BYTES)).unwrap_or_default();
        let step = walker.step(read);
        at += step.pass + step.packet;
        match step.event {
            Event::More => {}
            Event::Ok => walker.ended(StatusFlags::default()),
            other => panic!("{other:?} in a plain result"),
        }
    }
    assert_eq!(at, bytes.len(), "the walk ended elsewhere than the response");
    walker.rows()
}

fn frames(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("frames");
    for (name, rows, bytes) in [
        ("one row of 120 bytes", 1, 120),
        ("10,000 rows of 100 bytes", 10_000, 100),
        ("a row of 20 MiB", 1, 20 * 1024 * 1024),
    ] {
        let response = response(rows, bytes);
        group.throughput(Throughput::Bytes(response.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| walk(black_box(&response))));
    }
}

criterion_group!(benches, frames);
criterion_main!(benches);
