//! How the embedded home is to behave.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::usage::Caps;
use crate::{Clock, SystemClock};

/// How the embedded home is to behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many jobs may wait; the next one is [`Error::QueueFull`](crate::Error::QueueFull). 100 unless said otherwise.
    pub queue_limit: usize,
    /// How many jobs of one client may wait; the next one is [`Error::ClientFull`](crate::Error::ClientFull). As many as there may be at all unless
    /// said otherwise.
    pub queue_limit_each: usize,
    /// What may be kept of jobs that are over. Where as much is kept, the oldest failed ones go; then it is
    /// [`Error::Kept`](crate::Error::Kept).
    pub caps: Caps,
    /// The same for each client.
    pub caps_each: Caps,
    /// How many files (`jobs`), and how many bytes of them (`files`), each client may deposit.
    pub caps_deposits: Caps,
    /// Bytes on the disk that are left alone: with less, nothing new is accepted. 0 unless said otherwise.
    pub reserve: u64,
    /// How long a job lives after its end, with its files. One hour unless said otherwise (Segmind's retention).
    pub result_ttl: Duration,
    /// How long the output files live after the job's end, for files that are to outlive their job. `None`, or
    /// anything less: as long as the job.
    pub file_ttl: Option<Duration>,
    /// What owners had used of their credits elsewhere; taken over for those that are not known here.
    pub used: BTreeMap<String, u64>,
    /// How long a file lives that no job names, from its storing on. `None`: as long as a result, and ten minutes at least,
    /// since it may be stored long before the job that names it is there or over.
    pub unclaimed_ttl: Option<Duration>,
    /// Where the time comes from: the operating system, except in tests.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self {
            queue_limit: 100,
            queue_limit_each: usize::MAX,
            caps: UNLIMITED,
            caps_each: UNLIMITED,
            caps_deposits: UNLIMITED,
            reserve: 0,
            result_ttl: hour,
            file_ttl: None,
            used: BTreeMap::new(),
            unclaimed_ttl: None,
            clock: Arc::new(SystemClock::default()),
        }
    }
}

const UNLIMITED: Caps = Caps { jobs: usize::MAX, documents: u64::MAX, files: u64::MAX };
