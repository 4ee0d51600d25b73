namespace Ioasis.Core;

/// <summary>Mistakes to make on purpose, so that tests can show that they would be found.</summary>
[Flags]
internal enum ProcessMutation
{
    None = 0,

    /// <summary>Memory is freed before devices were told (S2.11).</summary>
    NotifierAfterReuse = 1,

    /// <summary>The PASID is freed when the process ends, without stopping and draining its devices (S2.1).</summary>
    FreedAtExitWithoutDrain = 2,

    /// <summary>The second bind of a device overwrites the data of the first (S2.3).</summary>
    DataOverwrittenByRebind = 4,

    /// <summary>The unwind of a failed bind frees the process's PASID also if an earlier bind allocated it (S2.8).</summary>
    UnwindFreesForeignPasid = 8,

    /// <summary>A private PASID stays allocated when its owner lets go of it (S2.9).</summary>
    PrivatePasidLeaked = 16,

    /// <summary>Two first binds of a process do not exclude each other (S2.2).</summary>
    FirstBindUnlocked = 32,
}
