//! Streams that wait for what all streams of a connection share, in the order of their turns: who had none of it last time comes first.

#[derive(Default)]
pub struct Turns {
    passed_over: Vec<u32>,
    served: Vec<u32>,
}

impl Turns {
    /// `served`: it has written since it last waited.
    pub fn wait(&mut self, stream: u32, served: bool) {
        if served { self.served.push(stream) } else { self.passed_over.push(stream) }
    }

    pub fn all(&mut self) -> impl Iterator<Item = u32> {
        self.passed_over.drain(..).chain(self.served.drain(..))
    }

    pub fn forget(&mut self, stream: u32) {
        self.passed_over.retain(|waiting| *waiting != stream);
        self.served.retain(|waiting| *waiting != stream);
    }
}
