//! JSON merge patch (RFC 7386) and JSON patch (RFC 6902), bounded so that a small patch cannot make a huge object.

use super::PatchError;
use json_patch::{PatchOperation, jsonptr::Pointer};
use serde_json::Value;

/// As many operations as Kubernetes takes in one patch.
const OPERATIONS_AT_MOST: usize = 10_000;
/// What all `copy` operations of a patch may add, in bytes of JSON.
const COPIED_AT_MOST: usize = 3 << 20;
/// As deep as the JSON parser reads.
const DEEPEST: usize = 128;

/// RFC 7386: fields of `patch` replace, maps merge, `null` removes.
pub fn merge_patch(target: &Value, patch: &Value) -> Value {
    let mut out = target.clone();
    json_patch::merge(&mut out, patch);
    out
}

/// RFC 6902: a list of operations, all or none of which happen.
///
/// # Errors
/// A patch that is not one, an operation that cannot be done (a failed `test` too), or a result out of bounds.
pub fn json_patch(target: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations: Vec<PatchOperation> = serde_json::from_value(patch.clone())
        .map_err(|error| PatchError::new("", format!("this is not a JSON patch (a list of operations, RFC 6902): {error}")))?;
    if operations.len() > OPERATIONS_AT_MOST {
        let message = format!("the patch has {} operations, more than {OPERATIONS_AT_MOST}: send it in parts", operations.len());
        return Err(PatchError::new("", message));
    }
    let mut out = target.clone();
    let mut copied = 0;
    for operation in operations {
        check_bounds(&out, &operation, &mut copied)?;
        let path = operation.path().to_string();
        json_patch::patch(&mut out, std::slice::from_ref(&operation)).map_err(|error| PatchError::new(path, reason(&error)))?;
    }
    Ok(out)
}

fn reason(error: &json_patch::PatchError) -> String {
    match error.kind {
        json_patch::PatchErrorKind::TestFailed => "the value is not what the patch's test expects".to_owned(),
        json_patch::PatchErrorKind::InvalidPointer => "there is nothing at this path".to_owned(),
        json_patch::PatchErrorKind::InvalidFromPointer => "there is nothing at the path to take from".to_owned(),
        _ => error.to_string(),
    }
}

fn check_bounds(target: &Value, operation: &PatchOperation, copied: &mut usize) -> Result<(), PatchError> {
    let (path, depth_of_value) = match operation {
        PatchOperation::Add(add) => (&add.path, depth(&add.value)),
        PatchOperation::Replace(replace) => (&replace.path, depth(&replace.value)),
        PatchOperation::Move(step) => (&step.path, depth_at(target, &step.from)),
        PatchOperation::Copy(copy) => {
            *copied += target.pointer(copy.from.as_str()).map_or(0, |value| value.to_string().len());
            if *copied > COPIED_AT_MOST {
                return Err(PatchError::new(copy.path.to_string(), "the patch copies more than 3 MiB in all"));
            }
            (&copy.path, depth_at(target, &copy.from))
        }
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
    };
    match path.count() + depth_of_value > DEEPEST {
        true => Err(PatchError::new("", format!("the patch nests deeper than {DEEPEST} levels"))),
        false => Ok(()),
    }
}

fn depth_at(target: &Value, at: &Pointer) -> usize {
    target.pointer(at.as_str()).map_or(0, depth)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
