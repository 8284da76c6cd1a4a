//! Read, decide, write: an order reaches the spec that it was decided on, or is decided anew.

use kube::api::{Patch, PatchParams};
use pointsman_api::rollout::Rollout;

use super::Cluster;
use crate::arguments::DryRun;
use crate::error::Error;
use crate::intent::{Change, Edit, Refusal};

/// How often a change is decided anew because somebody else wrote in between.
const TRIES: usize = 5;
const MANAGER: &str = "kubectl-pointsman";

impl Cluster {
    /// Decides on the rollout as it is and writes. The patch carries the version that was read: when somebody else
    /// wrote in between the API server refuses it, and the order is decided anew, or refused in words.
    /// A crash or a lost answer leaves an order that may be given again: orders are levels.
    pub async fn change(
        &self,
        name: &str,
        dry_run: DryRun,
        decide: impl Fn(&Rollout) -> Result<Change, Refusal>,
    ) -> Result<(Change, Rollout), Error> {
        let parameters = PatchParams {
            dry_run: dry_run == DryRun::Server,
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        for _ in 0..TRIES {
            let change = decide(&self.rollout(name).await?)?;
            let patch: Patch<serde_json::Value> = match &change.edit {
                Edit::Merge(value) => Patch::Merge(value.clone()),
                Edit::Operations(value) => Patch::Json(serde_json::from_value(value.clone()).map_err(
                    |error| Error::Unreadable {
                        what: "the change".to_owned(),
                        why: error.to_string(),
                    },
                )?),
            };
            let api = self.rollouts();
            let request = async {
                match api.patch(name, &parameters, &patch).await {
                    Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
                    answer => answer.map(Some),
                }
            };
            if let Some(rollout) = self.call(request).await? {
                return Ok((change, rollout));
            }
        }
        Err(Error::Contended {
            name: name.to_owned(),
            tries: TRIES,
        })
    }
}
