//! Given: numbers of connections and when they were heard of. Gives: what is known of each, bounded in number: when there
//! are too many, the longest idle make room. Refuses to know: which protocol they speak; that is a type parameter.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::stream::Stream;

/// One connection: a socket, or a TLS object.
#[derive(Debug)]
pub struct Connection<S> {
    /// The bytes that the process sent.
    pub sent: Stream,
    /// The bytes that it received.
    pub received: Stream,
    /// When it was last heard of; CLOCK_MONOTONIC.
    pub last_ns: u64,
    /// What is known beyond that.
    pub state: S,
}

/// All connections that are known, by number.
#[derive(Debug)]
pub struct Connections<S> {
    /// On the heap: a third of a table's places, and more right after it has grown, are empty.
    known: HashMap<u64, Box<Connection<S>>, BuildHasherDefault<Scatter>>,
    most: usize,
}

impl<S> Connections<S> {
    /// At most so many at one time.
    pub fn new(most: usize) -> Self {
        Connections { known: HashMap::default(), most: most.max(1) }
    }

    /// The connection of this number, made by `state` when it is new.
    pub fn of(&mut self, id: u64, time_ns: u64, state: impl FnOnce() -> S) -> &mut Connection<S> {
        let connection = self.known.entry(id).or_insert_with(|| {
            let (sent, received) = (Stream::default(), Stream::default());
            Box::new(Connection { sent, received, last_ns: time_ns, state: state() })
        });
        connection.last_ns = time_ns;
        connection
    }

    /// The connection of this number, when it is known.
    pub fn find(&mut self, id: u64) -> Option<&mut Connection<S>> {
        self.known.get_mut(&id).map(|connection| &mut **connection)
    }

    /// Forgets a connection.
    pub fn remove(&mut self, id: u64) -> Option<Connection<S>> {
        self.known.remove(&id).map(|connection| *connection)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Every connection, in the order of numbers.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut Connection<S>)> {
        let mut all: Vec<_> =
            self.known.iter_mut().map(|(&id, connection)| (id, &mut **connection)).collect();
        all.sort_unstable_by_key(|&(id, _)| id);
        all.into_iter()
    }

    /// Takes out what has not been heard of since `before_ns`, and when there is no room for another connection, also
    /// the longest idle sixteenth: making room in batches keeps the cost of it per connection constant. In the order of
    /// time, then numbers.
    pub fn take_idle(&mut self, before_ns: u64) -> Vec<(u64, Connection<S>)> {
        let surplus = if self.known.len() >= self.most {
            self.known.len() - self.most + self.most.div_ceil(16)
        } else {
            0
        };
        let mut idle: Vec<(u64, u64)> =
            self.known.iter().map(|(&id, connection)| (connection.last_ns, id)).collect();
        idle.sort_unstable();
        let long_idle = idle.partition_point(|&(last_ns, _)| last_ns < before_ns);
        idle.truncate(surplus.max(long_idle));
        idle.into_iter().filter_map(|(_, id)| Some((id, *self.known.remove(&id)?))).collect()
    }

    /// True when another connection would be one too many.
    pub fn is_full(&self) -> bool {
        self.known.len() >= self.most
    }
}

/// Spreads numbers that are already distinct. Kernel inodes cannot be chosen by an attacker, so this need not resist one.
#[derive(Debug, Default)]
pub struct Scatter(u64);

impl Hasher for Scatter {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // 2^64 over the golden ratio; the rotation brings the well mixed high bits down, where the table looks.
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(connections: &mut Connections<u64>, before_ns: u64) -> Vec<u64> {
        connections.take_idle(before_ns).into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn the_longest_idle_make_room() {
        let mut connections = Connections::new(32);
        for id in 0..32 {
            connections.of(id, 100 - id, || id);
        }
        assert!(connections.is_full());
        assert_eq!(idle(&mut connections, 0), [31, 30]);
        assert!(!connections.is_full());
        assert!(idle(&mut connections, 0).is_empty());
    }

    #[test]
    fn what_is_idle_too_long_goes() {
        let mut connections = Connections::new(32);
        connections.of(1, 10, || 0);
        connections.of(2, 20, || 0);
        connections.of(1, 30, || 0);
        assert_eq!(idle(&mut connections, 25), [2]);
        assert_eq!(connections.len(), 1);
    }
}
