import Conversion
import Glibc
import Storage
import Text

/// A plan and the directory of its parts, as a person named them: what messages repeat in the commands that mend something.
struct NamedPlan {
  let path: String
  let partsDirectory: String

  func read() throws(Failure) -> PartPlan {
    do throws(PartError) { return try PartPlan(path: path) } catch { throw failure(error) }
  }

  /// Whether a part is there and sound, every byte of it; one that is damaged is made again, and that is said.
  ///
  /// - Throws: for a part of another plan.
  func has(_ part: Int, of plan: PartPlan, isQuiet: Bool) throws(Failure) -> Bool {
    do throws(PartError) {
      guard let file = try PartFile(part, of: plan, in: partsDirectory) else { return false }
      try file.check(first: plan.parts[part].firstChunk)
    } catch {
      guard case .damagedPart = error else { throw failure(error) }
      if !isQuiet { Console.note("note: \(failure(error).what); it is made again") }
      return false
    }
    if !isQuiet { Console.note("part \(part) is there, and all of it is sound") }
    return true
  }

  func makeDirectory() throws(ConversionError) {
    guard SystemCall.makeDirectory(partsDirectory) != 0, errno != EEXIST else { return }
    throw .part(.system(FileError("create", partsDirectory)))
  }

  /// The command that makes a part.
  func command(of part: Int) -> String {
    "ingot quantize --plan \(path) --part \(part) --parts-dir \(partsDirectory)"
  }

  func failure(_ error: PartError) -> Failure { Failure(error, self) }

  func failure(_ error: ConversionError, output: String) -> Failure {
    if case .part(let error) = error { failure(error) } else { Failure(error, output: output) }
  }
}
