//! Device shadows over HTTP. Documents are JSON as the service wrote it.

use bitts_aws::api::{
    DeleteThingShadow, GetThingShadow, HttpRequestParts, ListNamedShadowsForThing, NamedShadowPage,
    UpdateThingShadow,
};
use bytes::Bytes;

use super::error::Failure;
use super::pager::Page;
use super::{
    DataPlane, DeleteThingShadowError, GetThingShadowError, ListNamedShadowsForThingError, Pager,
    UpdateThingShadowError,
};

/// Names of a page: the most that there are.
const PAGE_SIZE: usize = 100;

impl DataPlane {
    /// A shadow's document.
    pub async fn get_thing_shadow(
        &self,
        request: &GetThingShadow,
    ) -> Result<Bytes, GetThingShadowError> {
        let answer = self.document(&request.encode(), &Bytes::new()).await;
        answer.map_err(GetThingShadowError::from_failure)
    }

    /// Changes a shadow's document; the answer is what was accepted. Without a `version` in it, an
    /// update that was sent again may have been carried out twice.
    pub async fn update_thing_shadow(
        &self,
        request: &UpdateThingShadow,
        document: &Bytes,
    ) -> Result<Bytes, UpdateThingShadowError> {
        let answer = self.document(&request.encode(), document).await;
        answer.map_err(UpdateThingShadowError::from_failure)
    }

    /// Deletes a shadow; the answer names the version that was deleted.
    pub async fn delete_thing_shadow(
        &self,
        request: &DeleteThingShadow,
    ) -> Result<Bytes, DeleteThingShadowError> {
        let answer = self.document(&request.encode(), &Bytes::new()).await;
        answer.map_err(DeleteThingShadowError::from_failure)
    }

    /// The names of a thing's shadows, without the classic one, in the largest pages.
    pub fn list_named_shadows_for_thing(
        &self,
        thing_name: &str,
    ) -> Pager<String, ListNamedShadowsForThingError> {
        let thing_name = thing_name.to_owned();
        let request = ListNamedShadowsForThing { thing_name, page_size: PAGE_SIZE, after: None };
        let error = ListNamedShadowsForThingError::from_failure;
        self.pager(request.encode(), read_names, error)
    }

    async fn document(&self, parts: &HttpRequestParts, body: &Bytes) -> Result<Bytes, Failure> {
        let answer = self.inner.call(parts, body).await.0?;
        Ok(answer.into_body())
    }
}

fn read_names(body: &[u8]) -> serde_json::Result<Page<String>> {
    let page: NamedShadowPage = serde_json::from_slice(body)?;
    Ok((page.results, page.next_token))
}
