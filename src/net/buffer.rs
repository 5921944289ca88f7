//! Read buffers that a worker lends to a socket while it has bytes, so that an idle client has none.

use std::cell::RefCell;
use std::rc::Rc;

/// Size of a lent buffer, bytes: large enough to stream a big result, small enough for the L2 cache.
pub const BUFFER_BYTES: usize = 64 * 1024;

/// Buffers that a worker keeps for the next reader, at most; 4 MiB in all.
const MAX_FREE: usize = 64;

/// The free buffers of one worker.
#[derive(Debug, Default)]
pub struct BufferPool {
    free: RefCell<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// An empty pool.
    pub fn new() -> Rc<Self> {
        Rc::new(Self::default())
    }

    fn take(&self) -> Vec<u8> {
        self.free.borrow_mut().pop().unwrap_or_else(|| vec![0; BUFFER_BYTES])
    }

    fn give(&self, memory: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if memory.len() == BUFFER_BYTES && free.len() < MAX_FREE {
            free.push(memory);
        }
    }
}

/// Bytes read and not yet consumed. Holds no memory while it is empty.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
    end: usize,
    pool: Rc<BufferPool>,
}

impl Buffer {
    /// An empty buffer that borrows from `pool`.
    pub fn new(pool: Rc<BufferPool>) -> Self {
        Self { memory: Vec::new(), start: 0, end: 0, pool }
    }

    /// The unconsumed bytes.
    pub fn bytes(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    /// The unconsumed bytes, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Unconsumed bytes.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Forgets the first `count` bytes (all, when there are fewer); gives the memory back when none is left.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
            self.release();
        }
    }

    /// Room to read into, never empty: lends memory, moves the bytes to the front or doubles as needed.
    pub fn space(&mut self) -> &mut [u8] {
        if self.memory.is_empty() {
            self.memory = self.pool.take();
        }
        if self.end == self.memory.len() {
            if self.start >= self.memory.len() / 2 {
                self.memory.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else {
                self.memory.resize(self.memory.len() * 2, 0);
            }
        }
        self.memory.get_mut(self.end..).unwrap_or_default()
    }

    /// Counts `count` bytes of the last `space()` as read.
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.memory.len());
    }

    /// Gives the memory back if nothing is in it.
    pub fn release(&mut self) {
        if self.is_empty() && !self.memory.is_empty() {
            self.pool.give(std::mem::take(&mut self.memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_lent_and_given_back() {
        let pool = BufferPool::new();
        let mut buffer = Buffer::new(Rc::clone(&pool));
        assert!(buffer.memory.is_empty());
        buffer.space()[..3].copy_from_slice(b"abc");
        buffer.filled(3);
        buffer.consume(2);
        assert_eq!(buffer.bytes(), b"c");
        buffer.consume(1);
        assert!(buffer.memory.is_empty());
        assert_eq!(pool.free.borrow().len(), 1);
    }

    #[test]
    fn a_full_buffer_grows_and_keeps_its_bytes() {
        let mut buffer = Buffer::new(BufferPool::new());
        let mut expected = Vec::new();
        for turn in 0..200_000u32 {
            let byte = turn.to_le_bytes()[0];
            buffer.space()[0] = byte;
            buffer.filled(1);
            expected.push(byte);
            if turn % 3 == 0 {
                buffer.consume(1);
                expected.remove(0);
                if expected.len() > 400 {
                    buffer.consume(300);
                    expected.drain(..300);
                }
            }
        }
        assert_eq!(buffer.bytes(), expected);
    }

    #[test]
    fn a_grown_buffer_is_not_kept() {
        let pool = BufferPool::new();
        let mut buffer = Buffer::new(Rc::clone(&pool));
        for _ in 0..3 {
            let room = buffer.space().len();
            buffer.filled(room);
        }
        let all = buffer.len();
        assert!(all > BUFFER_BYTES);
        buffer.consume(all);
        assert_eq!(pool.free.borrow().len(), 0);
    }
}
