//! Questions that take their time, such as those to a resolver, asked beside everything else.

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

/// Questions at the same time.
const THREADS: usize = 16;

/// Threads that answer questions; they end with it, after the question that they are at.
pub(crate) struct Pool<Q, A> {
    asked: Sender<Q>,
    answers: Receiver<A>,
}

impl<Q: Send + 'static, A: Send + 'static> Pool<Q, A> {
    pub(crate) fn new(answer: fn(Q) -> A) -> Self {
        let (asked, questions) = channel::<Q>();
        let (told, answers) = channel();
        let questions = Arc::new(Mutex::new(questions));
        for _ in 0..THREADS {
            let (questions, told) = (Arc::clone(&questions), told.clone());
            // Where there is no thread to be had there are fewer questions at the same time.
            let _ = thread::Builder::new().name("names".into()).spawn(move || {
                loop {
                    let next = questions.lock().ok().and_then(|questions| questions.recv().ok());
                    let Some(question) = next else { return };
                    if told.send(answer(question)).is_err() {
                        return;
                    }
                }
            });
        }
        Self { asked, answers }
    }

    /// Without threads no answer ever comes.
    pub(crate) fn ask(&self, question: Q) {
        let _ = self.asked.send(question);
    }

    /// The answers that are there.
    pub(crate) fn answers(&self) -> impl Iterator<Item = A> + '_ {
        self.answers.try_iter()
    }

    /// The next answer, where one comes in time.
    pub(crate) fn wait(&self, time: Duration) -> Option<A> {
        self.answers.recv_timeout(time).ok()
    }
}
