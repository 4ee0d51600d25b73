using Ioasis.Intel.Architecture;
using Ioasis.Platform;

namespace Ioasis.Intel.Hardware;

/// <summary>A request on its way through the tables.</summary>
internal struct Request
{
    /// <summary>The requester ID; bits from 16 up are set for a requester of another segment.</summary>
    public ulong Requester;
    public DmaKind Kind;

    /// <summary>A page request message: only the tables up to the PASID table entry matter.</summary>
    public bool IsPageRequest;

    /// <summary>The request carries a PASID.</summary>
    public bool HasPasid;

    /// <summary>Its own, or that of the context entry's RID_PASID.</summary>
    public uint Pasid;
    public bool Supervisor;
    public bool Execute;
    public ulong Address;

    /// <summary>What it is after: a translation request is after what it can get.</summary>
    public bool Reads;
    public bool Writes;

    /// <summary>A read of 0 bytes (section 3.14).</summary>
    public bool IsZeroLength;

    /// <summary>How many invalidations there had been before the first table was read.</summary>
    public long FillSequence;
    public int MemoryReads;

    public FaultReason Fault;

    /// <summary>FPD was met on the way.</summary>
    public bool FaultDisable;

    /// <summary>Notes a fault.</summary>
    /// <returns>False.</returns>
    public bool Fail(FaultReason reason)
    {
        Fault = reason;
        return false;
    }

    public readonly ushort SourceId => (ushort)Requester;

    /// <summary>The key of its context in caches.</summary>
    public readonly ulong Key => HasPasid ? KeyOf(Requester, Pasid) : Requester;

    /// <summary>The key with a PASID; what is too wide, or another segment's, must not look like one.</summary>
    public static ulong KeyOf(ulong requester, uint pasid) =>
        ((requester >> 16) | (pasid >> Primitives.Pasid.Bits)) != 0 ? ulong.MaxValue : requester | ((ulong)pasid << 16) | (1ul << 63);
}

/// <summary>What root, context and PASID tables say, whatever the address.</summary>
internal struct Context
{
    public bool IsLegacy;
    public PasidTranslationType Type;
    public ushort DomainId;

    /// <summary>The PASID that caches are tagged with: RID_PASID for a request without.</summary>
    public uint Pasid;

    public int FirstLevels;
    public ulong FirstRoot;

    public int SecondLevels;
    public ulong SecondRoot;

    /// <summary>The first address beyond the second stage: min(MGAW, AGAW).</summary>
    public ulong SecondLimit;

    /// <summary>SSADE.</summary>
    public bool SecondDirty;

    /// <summary>EAFE.</summary>
    public bool ExtendedAccessed;

    /// <summary>WPE.</summary>
    public bool WriteProtect;

    /// <summary>SRE.</summary>
    public bool AllowsSupervisor;

    /// <summary>Its requests without PASID are a supervisor's: RID_PRIV.</summary>
    public bool RidPrivilege;

    /// <summary>PGSNP.</summary>
    public bool PageSnoop;

    /// <summary>Page walks snoop: PWSNP, and what ECAP_REG has.</summary>
    public bool WalkSnoop;

    /// <summary>FPD of any structure on the way.</summary>
    public bool FaultDisable;

    public readonly bool HasFirstStage => Type is PasidTranslationType.FirstStage or PasidTranslationType.Nested;
}

/// <summary>A translation that was found.</summary>
internal struct Translation
{
    /// <summary>The translated address.</summary>
    public ulong Address;

    /// <summary>log2 of the bytes around it that translate alike.</summary>
    public int SizeLog2;

    /// <summary>log2 of the bytes of the first-stage page; 0 without first stage.</summary>
    public int FirstSizeLog2;

    // The rights of a user and of a supervisor, dirty bits left aside. Without first stage they are the same.
    public bool UserRead;
    public bool UserWrite;
    public bool SupervisorRead;
    public bool SupervisorWrite;

    /// <summary>Writes need no flag to be set.</summary>
    public bool IsDirty;

    /// <summary>SNP of the second-stage leaf.</summary>
    public bool Snoop;

    public readonly bool CanRead(bool supervisor) => supervisor ? SupervisorRead : UserRead;

    public readonly bool CanWrite(bool supervisor) => supervisor ? SupervisorWrite : UserWrite;
}
