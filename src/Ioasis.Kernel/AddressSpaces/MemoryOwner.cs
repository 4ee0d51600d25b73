using Ioasis.Platform;

namespace Ioasis.Kernel;

/// <summary>Whose memory is mapped, and on whose account it is pinned: a process, and the user that runs it.</summary>
/// <param name="Memory">The process's memory.</param>
/// <param name="Process">What was pinned by the process, for as long as it is pinned, whoever has it mapped.</param>
/// <param name="User">What all processes of the user have pinned.</param>
/// <param name="LimitPages">What either may come to when this process pins (Linux: RLIMIT_MEMLOCK).</param>
internal sealed record MemoryOwner(IUserMemory Memory, PinAccount Process, PinAccount User, long LimitPages)
{
    /// <summary>What the process has pinned for iommufd and for containers, whoever pays: no limit is asked.</summary>
    public PinAccount Pinned { get; init; } = new();

    /// <summary>The account that is charged.</summary>
    public PinAccount Account(bool byProcess) => byProcess ? Process : User;
}
