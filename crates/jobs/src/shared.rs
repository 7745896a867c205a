//! For serde: an [`Arc`] of a job is written like the job in it.

use std::sync::Arc;

use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

use crate::Job;

pub(crate) fn serialize<S: Serializer>(job: &Arc<Job>, serializer: S) -> Result<S::Ok, S::Error> {
    (**job).serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Job>, D::Error> {
    Job::deserialize(deserializer).map(Arc::new)
}
