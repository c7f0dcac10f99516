package import Storage

/// Why a plan, a part or what a resumable run has kept cannot be used.
package enum PartError: Error, Sendable, Equatable {
  /// The system refused a file.
  case system(FileError)
  /// The file is no plan.
  case notPlan(detail: String, path: String)
  /// A plan whose format is another version.
  case planSchema(String, path: String)
  /// A plan that does not hold what its hash was made of.
  case planEdited(path: String)
  /// A plan that says otherwise, in this member, than what is here would be planned as.
  case planDiffers(member: String, path: String)
  /// A file of the checkpoint is not the one that was planned with.
  case otherSource(name: String, directory: String)
  /// The file of states is not the one that was planned with.
  case otherStates(path: String)
  /// Files of weights that a part needs are not here.
  case shardsMissing([String], directory: String)
  /// More parts than there are chunks.
  case tooManyParts(wanted: Int, most: Int)
  /// There is no part of this number.
  case noPart(Int, count: Int)
  /// The file is a part of another plan, or another part.
  case foreignPart(path: String)
  /// The file of a part is damaged: what of it, and where; no range where all of it is.
  case damagedPart(Int, what: String, path: String, byteRange: Range<Int>?)
  /// Parts that are not there yet.
  case partsMissing([Int], directory: String)
  /// What lies beside the output was not made by a resumable run.
  case foreignJournal(path: String)
  /// What lies beside the output has no plan that can be read.
  case brokenJournal(path: String)
  /// What lies beside the output is of another run, by this member of its plan.
  case otherRun(member: String, path: String)
  /// Another process is writing the same output.
  case busy(path: String)
}
