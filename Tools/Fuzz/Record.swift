import Drift
import FuzzSupport
import JSON
import Safetensors
import Storage
import Tensors

/// A drift record of any bytes is refused with a sentence, or what is read of it is written and read back as the same.
///
/// The first byte says what the rest is: 1 or 2, a document, a zero byte and a safetensors file of the other tensors, from which a
/// record of that version is made whose hashes are right; else a whole file.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  guard let first = input.first else { return 0 }
  if first == 1 || first == 2 {
    guard let (document, tensors) = split(Array(input.dropFirst())) else { return 0 }
    do { try DriftRecord.write(document, tensors, version: Int(first), to: filePath, replaces: true) } catch {
      fatalError("cannot write: \(error)")
    }
  } else {
    store(Array(input.dropFirst()))
  }
  check()
  return 0
}

private func check() {
  let record: DriftRecord
  do throws(RecordError) { record = try DriftRecord(path: filePath) } catch {
    if case .broken(let detail, _) = error, detail.isEmpty { fatalError("an error without words") }
    return
  }
  // What version 1 lacks, version 2 cannot be written with.
  guard record.options.isRaw != nil else { return }
  guard (try? record.write(to: filePath, replaces: true, tool: "fuzz")) != nil,
    let again = try? DriftRecord(path: filePath), again == record
  else { fatalError("reads back differently: \(record)") }
}
