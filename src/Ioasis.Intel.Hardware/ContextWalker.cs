using Ioasis.Intel.Architecture;
using Ioasis.Platform;

namespace Ioasis.Intel.Hardware;

/// <summary>
/// From a request to its <see cref="Context"/>: root, context and PASID tables (sections 3.4, 9.1 to 9.6), with the faults of Table 30 in the
/// order of the walk. What the hostile cache holds is used, and what is read goes to it.
/// </summary>
internal sealed class ContextWalker
{
    private readonly HostMemory _memory;
    private readonly HostileCache? _hostile;
    private readonly Capability _cap;
    private readonly ExtendedCapability _ecap;
    private readonly bool _faultsExecute;

    // Bits that are reserved given the capabilities.
    private readonly ulong _contextHighReserved;
    private readonly ulong _scalableContextReserved;
    private readonly ulong _scalableContextHighReserved;
    private readonly ulong _pasidReserved0;
    private readonly ulong _pasidReserved1;
    private readonly ulong _pasidReserved2;

    public ContextWalker(VtdIommuOptions options, HostMemory memory, HostileCache? hostile)
    {
        _memory = memory;
        _hostile = hostile;
        _cap = options.Capabilities;
        _ecap = options.ExtendedCapabilities;
        _faultsExecute = options.Version >> 4 >= 8;
        ulong beyond = memory.BeyondMask;
        ulong noDomain = 0xffff & ~((1ul << _cap.DomainIdBits) - 1);
        ulong Unless(ulong capability, ulong bits) => _ecap.Has(capability) ? 0 : bits;

        _contextHighReserved = ContextEntry.HighReservedMask | (noDomain << ContextEntry.HighDomainIdShift);
        _scalableContextReserved = ScalableContextEntry.ReservedMask | beyond | ScalableContextEntry.TranslatedPasidBit
            | ScalableContextEntry.HostPermissionBit
            | Unless(ExtendedCapability.PageRequestBit, ScalableContextEntry.PageRequestBit)
            | Unless(ExtendedCapability.PasidBit, ScalableContextEntry.PasidBit)
            | Unless(ExtendedCapability.DeviceTlbBit, ScalableContextEntry.DeviceTlbBit);
        _scalableContextHighReserved = ScalableContextEntry.HighReservedMask
            | Unless(ExtendedCapability.RidPasidBit, ScalableContextEntry.HighRidPasidMask)
            | Unless(ExtendedCapability.RidPrivilegeBit, ScalableContextEntry.HighRidPrivilegeBit);
        _pasidReserved0 = PasidTableEntry.Word0ReservedMask | beyond
            | Unless(ExtendedCapability.SecondStageBit, ~0xffful | (7ul << PasidTableEntry.Word0AddressWidthShift) | PasidTableEntry.Word0SecondStageDirtyBit)
            | Unless(ExtendedCapability.SecondStageDirtyBit, PasidTableEntry.Word0SecondStageDirtyBit);
        _pasidReserved1 = PasidTableEntry.Word1ReservedMask | PasidTableEntry.Word1MemoryTypeMask | noDomain
            | Unless(ExtendedCapability.SnoopControlBit, PasidTableEntry.Word1PageSnoopBit)
            | Unless(ExtendedCapability.PageWalkCoherencyBit, PasidTableEntry.Word1PageWalkSnoopBit);
        _pasidReserved2 = PasidTableEntry.Word2ReservedMask | beyond
            | Unless(ExtendedCapability.SupervisorRequestBit, PasidTableEntry.Word2SupervisorBit)
            | Unless(ExtendedCapability.ExtendedAccessedBit, PasidTableEntry.Word2ExtendedAccessedBit)
            | Unless(
                ExtendedCapability.FirstStageBit,
                ~0xffful | (3ul << PasidTableEntry.Word2PagingModeShift) | PasidTableEntry.Word2WriteProtectBit);
    }

    /// <summary>Finds the context of a request that is subject to translation. A failure is in <see cref="Request.Fault"/>.</summary>
    public bool TryFind(Configuration configuration, ref Request request, out Context context)
    {
        context = default;
        if (configuration.ModeFault != FaultReason.None)
        {
            return request.Fail(configuration.ModeFault);
        }

        if (configuration.Mode == TranslationTableMode.Legacy)
        {
            return request.IsPageRequest ? request.Fail(FaultReason.PageRequestInLegacyMode)
                : request.HasPasid ? request.Fail(FaultReason.PasidInLegacyMode)
                : TryFindLegacy(configuration, ref request, ref context);
        }

        if (_faultsExecute && request.Execute && request.HasPasid)
        {
            return request.Fail(FaultReason.ExecuteRequested);
        }

        return TryFindScalable(configuration, ref request, ref context);
    }

    private bool TryFindLegacy(Configuration configuration, ref Request request, ref Context context)
    {
        if (!TryReadContext(configuration, ref request, scalable: false, out ContextWords words))
        {
            return false;
        }

        request.FaultDisable |= (words.Low & ContextEntry.FaultDisableBit) != 0;
        FaultReason invalid = CheckLegacy(words);
        if (invalid != FaultReason.None)
        {
            _hostile?.AddFaultyContext(request, words);
            return request.Fail(invalid);
        }

        _hostile?.AddContext(request, words, (ushort)(words.High >> ContextEntry.HighDomainIdShift));
        ContextTranslationType type = TypeOf(words.Low);
        if (request.Kind != DmaKind.Untranslated && type != ContextTranslationType.SecondStageWithDeviceTlb)
        {
            return request.Fail(FaultReason.ContextBlocksDeviceTlb);
        }

        int levels = 2 + (int)(words.High & ContextEntry.HighAddressWidthMask);
        context.IsLegacy = true;
        context.Type = type == ContextTranslationType.PassThrough ? PasidTranslationType.PassThrough : PasidTranslationType.SecondStage;
        context.DomainId = (ushort)(words.High >> ContextEntry.HighDomainIdShift);
        context.SecondLevels = levels;
        context.SecondRoot = words.Low & ~0xffful;
        context.SecondLimit = LimitOf(levels);
        context.AllowsSupervisor = true;
        context.FaultDisable = request.FaultDisable;
        return true;
    }

    private static ContextTranslationType TypeOf(ulong low) => (ContextTranslationType)((low >> ContextEntry.TranslationTypeShift) & 3);

    private FaultReason CheckLegacy(in ContextWords words)
    {
        if ((words.Low & ContextEntry.PresentBit) == 0)
        {
            return FaultReason.ContextNotPresent;
        }

        // The page table's pointer does not count with pass-through.
        ContextTranslationType type = TypeOf(words.Low);
        ulong reserved = ContextEntry.ReservedMask | (type == ContextTranslationType.PassThrough ? 0 : _memory.BeyondMask);
        if ((words.Low & reserved) != 0 || (words.High & _contextHighReserved) != 0)
        {
            return FaultReason.ContextReserved;
        }

        bool supported = type switch
        {
            ContextTranslationType.SecondStage => true,
            ContextTranslationType.SecondStageWithDeviceTlb => _ecap.Has(ExtendedCapability.DeviceTlbBit),
            ContextTranslationType.PassThrough => _ecap.Has(ExtendedCapability.PassThroughBit),
            _ => false,
        };
        return supported && _cap.SupportsLevels(2 + (int)(words.High & ContextEntry.HighAddressWidthMask))
            ? FaultReason.None
            : FaultReason.ContextInvalid;
    }

    // min(MGAW, AGAW).
    private ulong LimitOf(int levels) => 1ul << Math.Min(_cap.MaxGuestAddressWidth, 12 + (9 * levels));

    private bool TryFindScalable(Configuration configuration, ref Request request, ref Context context)
    {
        if (!TryReadContext(configuration, ref request, scalable: true, out ContextWords words))
        {
            return false;
        }

        request.FaultDisable |= (words.Low & ScalableContextEntry.FaultDisableBit) != 0;
        uint directorySize = 128u << (int)((words.Low >> ScalableContextEntry.DirectorySizeShift) & 7);
        uint ridPasid = (uint)(words.High & ScalableContextEntry.HighRidPasidMask);
        FaultReason invalid = CheckScalable(words, ridPasid, directorySize);
        if (invalid != FaultReason.None)
        {
            _hostile?.AddFaultyContext(request, words);
            return request.Fail(invalid);
        }

        _hostile?.AddContext(request, words, domainId: null);
        FaultReason refused = RefuseByContext(request, words, ridPasid, directorySize);
        if (refused != FaultReason.None)
        {
            return request.Fail(refused);
        }

        context.RidPrivilege = !request.HasPasid && (words.High & ScalableContextEntry.HighRidPrivilegeBit) != 0;
        request.Supervisor = request.HasPasid ? request.Supervisor : context.RidPrivilege;
        context.Pasid = request.HasPasid ? request.Pasid : ridPasid;
        context.FaultDisable = request.FaultDisable;

        // Translated requests go no further (section 4.2.5).
        return (request.Kind == DmaKind.Translated && !request.IsPageRequest) || TryFindPasid(words.Low & ~0xffful, ref request, ref context);
    }

    private FaultReason CheckScalable(in ContextWords words, uint ridPasid, uint directorySize)
    {
        const ulong DeviceTlbAndPageRequest = ScalableContextEntry.DeviceTlbBit | ScalableContextEntry.PageRequestBit;
        return (words.Low & ScalableContextEntry.PresentBit) == 0 ? FaultReason.ScalableContextNotPresent
            : ((words.Low & _scalableContextReserved) | (words.High & _scalableContextHighReserved) | words.Third | words.Fourth) != 0
                ? FaultReason.ScalableContextReserved
            : (words.Low & DeviceTlbAndPageRequest) == ScalableContextEntry.PageRequestBit
                || ridPasid >> PasidDirectoryEntry.PasidShift >= directorySize
                ? FaultReason.ScalableContextInvalid
            : FaultReason.None;
    }

    private FaultReason RefuseByContext(in Request request, in ContextWords words, uint ridPasid, uint directorySize)
    {
        if (request.Kind != DmaKind.Untranslated && !request.IsPageRequest && (words.Low & ScalableContextEntry.DeviceTlbBit) == 0)
        {
            return FaultReason.DeviceTlbDisabled;
        }

        if (request.IsPageRequest && (words.Low & ScalableContextEntry.PageRequestBit) == 0)
        {
            return FaultReason.PageRequestDisabled;
        }

        return !request.HasPasid ? FaultReason.None
            : (words.Low & ScalableContextEntry.PasidBit) == 0 ? FaultReason.PasidDisabled
            : !request.IsPageRequest && request.Pasid >> _ecap.PasidBits != 0 ? FaultReason.PasidBeyondSize
            : request.Pasid >> PasidDirectoryEntry.PasidShift >= directorySize ? FaultReason.PasidBeyondDirectory
            : request.Pasid == ridPasid ? FaultReason.PasidIsRidPasid
            : FaultReason.None;
    }

    private bool TryReadContext(Configuration configuration, ref Request request, bool scalable, out ContextWords words)
    {
        if (_hostile is { } hostile && hostile.TryFindContext(request.SourceId, scalable, out words))
        {
            return true;
        }

        words = new() { IsScalable = scalable };
        uint function = request.SourceId & 0xffu;
        ulong place = configuration.RootTable + ((uint)(request.SourceId >> 8) * (ulong)RootEntry.Size);
        if (!scalable)
        {
            request.MemoryReads += 2;
            return !_memory.TryReadPair(place, out ulong root, out ulong high) ? request.Fail(FaultReason.RootAccess)
                : (root & RootEntry.PresentBit) == 0 ? request.Fail(FaultReason.RootNotPresent)
                : ((root & (RootEntry.ReservedMask | _memory.BeyondMask)) | high) != 0 ? request.Fail(FaultReason.RootReserved)
                : _memory.TryReadPair((root & ~0xffful) + (function * ContextEntry.Size), out words.Low, out words.High)
                    || request.Fail(FaultReason.ContextAccess);
        }

        // The lower half is for devices 0 to 15, the upper for 16 to 31.
        request.MemoryReads += 2;
        if (!_memory.TryRead(place + (function < 128 ? 0ul : 8), out ulong half))
        {
            return request.Fail(FaultReason.ScalableRootAccess);
        }

        if ((half & ScalableRootEntry.PresentBit) == 0)
        {
            return request.Fail(FaultReason.ScalableRootNotPresent);
        }

        if ((half & (ScalableRootEntry.ReservedMask | _memory.BeyondMask)) != 0)
        {
            return request.Fail(FaultReason.ScalableRootReserved);
        }

        ulong entry = (half & ~0xffful) + ((function & 127) * ScalableContextEntry.Size);
        return (_memory.TryReadPair(entry, out words.Low, out words.High) && _memory.TryReadPair(entry + 16, out words.Third, out words.Fourth))
            || request.Fail(FaultReason.ScalableContextAccess);
    }

    private bool TryFindPasid(ulong directory, ref Request request, ref Context context)
    {
        if (!TryReadPasid(directory, ref request, context.Pasid, out PasidWords words))
        {
            return false;
        }

        request.FaultDisable |= words.DirectoryFaultDisable || (words.First & PasidTableEntry.Word0FaultDisableBit) != 0;
        FaultReason invalid = CheckPasid(words, ref context);
        if (invalid != FaultReason.None)
        {
            _hostile?.AddFaultyPasid(request, context.Pasid, words);
            return request.Fail(invalid);
        }

        _hostile?.AddPasid(request, context.Pasid, words);
        context.DomainId = (ushort)words.Second;
        context.FirstRoot = words.Third & ~0xffful;
        context.SecondRoot = words.First & ~0xffful;
        context.SecondDirty = (words.First & PasidTableEntry.Word0SecondStageDirtyBit) != 0;
        context.ExtendedAccessed = (words.Third & PasidTableEntry.Word2ExtendedAccessedBit) != 0;
        context.WriteProtect = (words.Third & PasidTableEntry.Word2WriteProtectBit) != 0;
        context.AllowsSupervisor = (words.Third & PasidTableEntry.Word2SupervisorBit) != 0;
        context.PageSnoop = (words.Second & PasidTableEntry.Word1PageSnoopBit) != 0;
        context.WalkSnoop = (words.Second & PasidTableEntry.Word1PageWalkSnoopBit) != 0;
        context.FaultDisable = request.FaultDisable;
        if (request.IsPageRequest)
        {
            return true;
        }

        return request.Execute && request.HasPasid ? request.Fail(FaultReason.ExecuteUnsupported)
            : request.Supervisor && !context.AllowsSupervisor ? request.Fail(FaultReason.SupervisorDisabled)
            : true;
    }

    private bool TryReadPasid(ulong directory, ref Request request, uint pasid, out PasidWords words)
    {
        if (_hostile is { } hostile && hostile.TryFindPasid(request.SourceId, pasid, out words))
        {
            return true;
        }

        words = default;
        request.MemoryReads++;
        if (!_memory.TryRead(directory + ((pasid >> PasidDirectoryEntry.PasidShift) * (ulong)PasidDirectoryEntry.Size), out ulong entry))
        {
            return request.Fail(FaultReason.PasidDirectoryAccess);
        }

        words.DirectoryFaultDisable = (entry & PasidDirectoryEntry.FaultDisableBit) != 0;
        request.FaultDisable |= words.DirectoryFaultDisable;
        if ((entry & PasidDirectoryEntry.PresentBit) == 0)
        {
            return request.Fail(FaultReason.PasidDirectoryNotPresent);
        }

        if ((entry & (PasidDirectoryEntry.ReservedMask | _memory.BeyondMask)) != 0)
        {
            return request.Fail(FaultReason.PasidDirectoryReserved);
        }

        request.MemoryReads++;
        ulong place = (entry & ~0xffful) + ((pasid & 63) * (ulong)PasidTableEntry.Size);
        bool read = _memory.TryReadPair(place, out words.First, out words.Second)
            & _memory.TryReadPair(place + 16, out words.Third, out ulong fourth)
            & _memory.TryReadPair(place + 32, out ulong fifth, out ulong sixth)
            & _memory.TryReadPair(place + 48, out ulong seventh, out ulong eighth);
        words.Others = fourth | fifth | sixth | seventh | eighth;
        return read || request.Fail(FaultReason.PasidEntryAccess);
    }

    private FaultReason CheckPasid(in PasidWords words, ref Context context)
    {
        if ((words.First & PasidTableEntry.Word0PresentBit) == 0)
        {
            return FaultReason.PasidEntryNotPresent;
        }

        if (((words.First & _pasidReserved0) | (words.Second & _pasidReserved1) | (words.Third & _pasidReserved2) | words.Others) != 0)
        {
            return FaultReason.PasidEntryReserved;
        }

        context.Type = (PasidTranslationType)((words.First >> PasidTableEntry.Word0TranslationTypeShift) & 7);
        bool supported = context.Type switch
        {
            PasidTranslationType.FirstStage => _ecap.Has(ExtendedCapability.FirstStageBit),
            PasidTranslationType.SecondStage => _ecap.Has(ExtendedCapability.SecondStageBit),
            PasidTranslationType.Nested => _ecap.Has(ExtendedCapability.NestedBit),
            PasidTranslationType.PassThrough => _ecap.Has(ExtendedCapability.PassThroughBit),
            _ => false,
        };
        if (!supported)
        {
            return FaultReason.PasidEntryInvalid;
        }

        if (context.Type is PasidTranslationType.SecondStage or PasidTranslationType.Nested)
        {
            context.SecondLevels = 2 + (int)((words.First >> PasidTableEntry.Word0AddressWidthShift) & 7);
            if (!_cap.SupportsLevels(context.SecondLevels))
            {
                return FaultReason.PasidEntryInvalid;
            }

            context.SecondLimit = LimitOf(context.SecondLevels);
        }

        if (context.HasFirstStage)
        {
            int mode = (int)((words.Third >> PasidTableEntry.Word2PagingModeShift) & 3);
            context.FirstLevels = 4 + mode;
            if (mode > (_cap.FirstStage5Level ? 1 : 0)
                || (context.Type == PasidTranslationType.Nested && (words.Third & ~0xffful) >= context.SecondLimit))
            {
                return FaultReason.PasidEntryInvalid;
            }
        }

        return FaultReason.None;
    }
}

/// <summary>A context entry of either mode, as it was read.</summary>
internal struct ContextWords
{
    public ulong Low;
    public ulong High;
    public ulong Third;
    public ulong Fourth;
    public bool IsScalable;
}

/// <summary>A PASID table entry as it was read, and FPD of the directory entry that led to it.</summary>
internal struct PasidWords
{
    public ulong First;
    public ulong Second;
    public ulong Third;

    /// <summary>All the others, which are reserved.</summary>
    public ulong Others;
    public bool DirectoryFaultDisable;
}
