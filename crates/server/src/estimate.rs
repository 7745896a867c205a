//! When a job will be over, from how long the latest ones took.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jobs::{Job, State};

use crate::state::App;

/// How many of the latest jobs count.
const RUNS: usize = 32;
/// For how long what was learnt of them holds.
const FRESH: Duration = Duration::from_secs(2);
/// From here on a running job's own progress says more than other jobs do.
const TELLING: f64 = 0.1;

/// How fast jobs are done at present.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pace {
    /// How long a job takes: the median of the latest ones.
    typical: Duration,
    /// How many run at the same time.
    workers: usize,
    /// How many run now.
    running: usize,
}

impl Pace {
    /// Until a waiting job is over that has `before` others before it. A place gets free as soon as a worker is, and then
    /// every `typical / workers`.
    fn waiting(&self, before: usize) -> Duration {
        let free = self.workers.saturating_sub(self.running);
        let ahead = (before + 1).saturating_sub(free);
        self.typical + self.typical.mul_f64(ahead as f64 / self.workers.max(1) as f64)
    }

    /// Until a job is over that has run for `elapsed`.
    fn running(&self, elapsed: Duration, progress: f64) -> Duration {
        if progress >= TELLING {
            return elapsed.mul_f64((1.0 - progress).max(0.0) / progress);
        }
        self.typical.saturating_sub(elapsed)
    }
}

/// Knows the pace, and asks for it anew every now and then.
#[derive(Debug, Default)]
pub(crate) struct Estimator(Mutex<Option<(Instant, Option<Pace>)>>);

impl Estimator {
    /// Whole seconds until the job is over, at least 1; `None` once it is, or while no job has been measured.
    pub(crate) async fn seconds(
        &self,
        app: &App,
        job: &Job,
        position: Option<usize>,
        progress: Option<f32>,
    ) -> Option<u64> {
        if job.state.is_terminal() {
            return None;
        }
        let pace = self.pace(app).await?;
        let left = match (job.state, job.started_at) {
            (State::Processing, Some(started)) => {
                let elapsed = Duration::from_millis(app.jobs.now().saturating_sub(started));
                pace.running(elapsed, f64::from(progress.unwrap_or(0.0)))
            }
            _ => pace.waiting(position.unwrap_or(0)),
        };
        Some((left.as_secs_f64().ceil() as u64).max(1))
    }

    async fn pace(&self, app: &App) -> Option<Pace> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, pace)) = known
            && since.elapsed() < FRESH
        {
            return pace;
        }
        // Without an answer there is no estimate; the poll itself is to succeed.
        let pace = measure(app).await.ok().flatten();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), pace));
        pace
    }
}

async fn measure(app: &App) -> jobs::Result<Option<Pace>> {
    let mut runs = app.jobs.recent_runs(RUNS).await?;
    runs.sort();
    let Some(typical) = runs.get(runs.len() / 2).copied() else { return Ok(None) };
    let workers = match &app.registry {
        Some(registry) => registry.workers().await?.iter().filter(|worker| worker.state == "ready").count(),
        None => app.config.workers,
    };
    Ok(Some(Pace { typical, workers, running: app.jobs.counts().await?.processing }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_wait_before_it_the_longer_it_takes() {
        let typical = Duration::from_secs(10);
        let pace = |workers, running| Pace { typical, workers, running };
        let seconds = |pace: Pace, before| pace.waiting(before).as_secs();
        assert_eq!(seconds(pace(1, 0), 0), 10, "it begins at once");
        assert_eq!(seconds(pace(1, 1), 0), 20);
        assert_eq!(seconds(pace(1, 1), 3), 50);
        assert_eq!(seconds(pace(2, 2), 3), 30);
        assert_eq!(seconds(pace(4, 2), 1), 10);
        assert_eq!(seconds(pace(0, 0), 0), 20, "nobody works just now");
    }

    #[test]
    fn a_running_job_says_itself_how_long_it_takes() {
        let pace = Pace { typical: Duration::from_secs(10), workers: 1, running: 1 };
        let left = |elapsed, progress| pace.running(Duration::from_secs(elapsed), progress).as_secs();
        assert_eq!(left(3, 0.0), 7);
        assert_eq!(left(30, 0.0), 0);
        assert_eq!(left(30, 0.75), 10);
        assert_eq!(left(30, 1.0), 0);
    }
}
