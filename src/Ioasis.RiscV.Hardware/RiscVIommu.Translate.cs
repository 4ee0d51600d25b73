using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>The process to translate an IOVA (section 2.3) and how faults are answered (section 2.6).</content>
public sealed partial class RiscVIommu
{
    private static Request MakeRequest(in DmaRequest dma)
    {
        bool write = (dma.Flags & DmaFlags.Write) != 0;
        bool execute = (dma.Flags & DmaFlags.Execute) != 0;
        Request request = default;
        request.Iova = dma.Address.Value;
        request.DeviceId = DeviceIdOf(dma.Device);
        request.Kind = dma.Kind;
        request.HasProcess = request.HadProcess = dma.HasPasid;
        request.ProcessId = dma.HasPasid ? dma.Pasid.Value & Pasid.MaxValue : 0;
        request.PrivilegedRequested = (dma.Flags & DmaFlags.Privileged) != 0;
        request.ExecuteRequested = execute;
        request.Cxl = (dma.Flags & DmaFlags.Cxl) != 0;
        request.IsWrite = write || (dma.Kind == DmaKind.TranslationRequest && (dma.Flags & DmaFlags.NoWrite) == 0);
        request.IsExecute = !write && execute && (dma.Kind == DmaKind.Untranslated || dma.HasPasid);
        request.IsRead = !write && !(dma.Kind == DmaKind.Untranslated && execute);
        request.Supervisor = dma.HasPasid && request.PrivilegedRequested;
        request.CheckPermissions = dma.Kind != DmaKind.TranslationRequest;
        request.Type = dma.Kind switch
        {
            DmaKind.TranslationRequest => TransactionType.AtsTranslationRequest,
            DmaKind.Translated when write => TransactionType.TranslatedWrite,
            DmaKind.Translated when execute && dma.HasPasid => TransactionType.TranslatedExecute,
            DmaKind.Translated => TransactionType.TranslatedRead,
            _ when write => TransactionType.UntranslatedWrite,
            _ when execute => TransactionType.UntranslatedExecute,
            _ => TransactionType.UntranslatedRead,
        };
        return request;
    }

    /// <summary>Steps 1 to 20. A failure is in <c>request.Cause</c>.</summary>
    private bool Process(ref Request request, out Outcome outcome)
    {
        outcome = default;
        outcome.SizeLog2 = outcome.SpanLog2 = 12;
        CountEvent(request, request.Kind switch
        {
            DmaKind.Translated => HpmEvent.TranslatedRequest,
            DmaKind.TranslationRequest => HpmEvent.AtsTranslationRequest,
            _ => HpmEvent.UntranslatedRequest,
        });

        // Steps 1 and 2.
        Configuration configuration = Volatile.Read(ref _configuration);
        if (configuration.Mode == IommuMode.Off)
        {
            return Fail(ref request, FaultCause.AllInboundDisallowed);
        }

        if (configuration.Mode == IommuMode.Bare)
        {
            outcome.Address = request.Iova;
            return request.Kind == DmaKind.Untranslated || Fail(ref request, FaultCause.TransactionTypeDisallowed);
        }

        // Steps 3 to 7.
        if (IsTooWide(configuration, request.DeviceId))
        {
            return Fail(ref request, FaultCause.TransactionTypeDisallowed);
        }

        request.FillSequence = Volatile.Read(ref _invalidationSequence);
        ulong key = TranslationContext.KeyOf(request.DeviceId, request.HadProcess, request.ProcessId);
        if (request.Kind != DmaKind.Translated && FindContext(key) is { } known)
        {
            return UseContext(ref request, known)
                && TranslateStages(configuration, ref request, known.Device, known.Device.Data, known.Stage, known.Space, ref outcome);
        }

        if (!LocateDevice(configuration, ref request, out CachedDevice? cached, out DeviceContextData device))
        {
            return false;
        }

        request.DisableFaults = device.Has(DeviceTranslationControl.DisableTranslationFaultsBit);
        if (!IsAllowed(request, device))
        {
            return Fail(ref request, FaultCause.TransactionTypeDisallowed);
        }

        // Steps 8 and 9.
        if (request.Kind == DmaKind.Translated && !device.Has(DeviceTranslationControl.T2gpaBit))
        {
            outcome.Address = request.Iova;
            return true;
        }

        if (!LocateFirstStage(configuration, ref request, device, out ResolvedProcess process))
        {
            return false;
        }

        AddressSpace? space = request.Kind == DmaKind.Translated
            ? cached?.GuestSpace
            : AddContext(request, cached, process)?.Space;
        return TranslateStages(configuration, ref request, cached, device, process.Stage, space, ref outcome);
    }

    // Steps 7 to 16 of a request whose context is in the directory caches.
    private static bool UseContext(ref Request request, TranslationContext context)
    {
        ref readonly DeviceContextData device = ref context.Device.Data;
        request.DisableFaults = device.Has(DeviceTranslationControl.DisableTranslationFaultsBit);
        if ((request.Kind == DmaKind.TranslationRequest && !device.Has(DeviceTranslationControl.EnableAtsBit))
            || (request.Supervisor && context.SupervisorShift < 0))
        {
            return Fail(ref request, FaultCause.TransactionTypeDisallowed);
        }

        request.HasProcess |= context.UsesDefaultProcess;
        request.Pscid = context.Pscid;
        Identify(ref request, context.Stage, device);
        return true;
    }

    // Identifiers of the address space; those that are not used read 0.
    private static void Identify(ref Request request, in FirstStage stage, in DeviceContextData device)
    {
        request.HasPscid = !stage.IsBare;
        request.Pscid = request.HasPscid ? request.Pscid : 0;
        request.HasGscid = device.HasSecondStage;
        request.Gscid = request.HasGscid ? device.Gscid : 0;
    }

    private static bool Fail(ref Request request, FaultCause cause)
    {
        request.Cause = cause;
        return false;
    }

    // Step 7.
    private static bool IsAllowed(in Request request, in DeviceContextData device)
    {
        if (request.Kind != DmaKind.Untranslated && !device.Has(DeviceTranslationControl.EnableAtsBit))
        {
            return false;
        }

        if (!request.HasProcess)
        {
            return true;
        }

        return device.Has(DeviceTranslationControl.PdtValidBit)
            && TablePointer.Mode(device.FirstStageContext) switch
            {
                Pdtp.ModePd8 => request.ProcessId < 1u << 8,
                Pdtp.ModePd17 => request.ProcessId < 1u << 17,
                _ => true,
            };
    }

    // Steps 9 to 16: which page table translates.
    private bool LocateFirstStage(
        Configuration configuration, ref Request request, in DeviceContextData device, out ResolvedProcess process)
    {
        process = default;
        process.AllowsSupervisor = true;
        if (request.Kind == DmaKind.Translated)
        {
            // The address is a guest physical one already.
        }
        else if (!device.Has(DeviceTranslationControl.PdtValidBit))
        {
            process.Stage.Iosatp = device.FirstStageContext;
            process.Pscid = (uint)(device.TranslationAttributes >> DeviceTranslationAttributes.PscidShift)
                & (uint)DeviceTranslationAttributes.PscidMask;
        }
        else
        {
            if (!request.HasProcess && device.Has(DeviceTranslationControl.DefaultProcessBit))
            {
                process.UsesDefaultProcess = true;
                request.HasProcess = true;
                request.ProcessId = 0;
            }

            if (request.HasProcess && TablePointer.Mode(device.FirstStageContext) != Pdtp.ModeBare)
            {
                if (!LocateProcess(configuration, ref request, device, out ProcessContextData context))
                {
                    return false;
                }

                process.HasProcessContext = true;
                process.AllowsSupervisor = context.Has(ProcessTranslationAttributes.EnableSupervisorBit);
                if (request.Supervisor && !process.AllowsSupervisor)
                {
                    return Fail(ref request, FaultCause.TransactionTypeDisallowed);
                }

                process.Stage.Iosatp = context.FirstStageContext;
                process.Stage.SupervisorUserMemory = context.Has(ProcessTranslationAttributes.SupervisorUserMemoryBit);
                process.Pscid = (uint)(context.TranslationAttributes >> ProcessTranslationAttributes.PscidShift)
                    & (uint)ProcessTranslationAttributes.PscidMask;
            }
        }

        request.Pscid = process.Pscid;
        Identify(ref request, process.Stage, device);
        return true;
    }

    // Steps 17 to 20.
    private bool TranslateStages(
        Configuration configuration,
        ref Request request,
        CachedDevice? cached,
        in DeviceContextData device,
        in FirstStage stage,
        AddressSpace? space,
        ref Outcome outcome)
    {
        // With SXL a guest has 34 bits of address, whatever an entry maps (section 2.1.3.1).
        bool inGuestRange = !stage.IsBare || !device.Has(DeviceTranslationControl.SxlBit) || request.Iova >> 34 == 0;
        if (space is not null && inGuestRange && TryIotlb(request, stage, space, ref outcome))
        {
            cached?.Counters?.CountHit();
            return true;
        }

        CountEvent(request, HpmEvent.TlbMiss);
        bool translated = WalkStages(configuration, ref request, device, stage, ref outcome);
        cached?.Counters?.CountMiss(request.MemoryReads);
        if (translated && space is not null)
        {
            FillIotlb(request, space, cached?.Counters, outcome, stage);
        }

        return translated;
    }

    // A hit outside of the fast path: the request is counted, or translated by a guest physical address.
    private bool TryIotlb(in Request request, in FirstStage stage, AddressSpace space, ref Outcome outcome)
    {
        int shift = !request.Supervisor ? IotlbValue.UserShift
            : stage.SupervisorUserMemory ? IotlbValue.SupervisorSumShift : IotlbValue.SupervisorShift;
        int operation = request.IsWrite ? IotlbValue.WriteOffset : request.IsExecute ? IotlbValue.ExecuteOffset : IotlbValue.ReadOffset;

        // The debug interface reports the size of the page, which an entry of the IOTLB does not tell (section 5.26): it walks. A translated
        // read for execute is both.
        if (_iotlb is not { } iotlb || request.Kind == DmaKind.TranslationRequest || request.ForDebug
            || !IsInTagRange(request.Iova, stage.IsBare)
            || !iotlb.TryFind(space, request.Iova, out ulong value, out int sizeLog2)
            || (value >> (shift + operation) & 1) == 0
            || (request.IsExecute && request.IsRead && (value >> (shift + IotlbValue.ReadOffset) & 1) == 0))
        {
            return false;
        }

        outcome.Address = Iotlb.AddressOf(value, sizeLog2, request.Iova);
        outcome.SizeLog2 = outcome.SpanLog2 = sizeLog2;
        outcome.Pbmt = (int)(value >> IotlbValue.PbmtShift & IotlbValue.PbmtMask);
        outcome.IsMsi = (value & IotlbValue.MsiBit) != 0;
        return true;
    }

    // The IOTLB's keys have 59 bits of address; what is sign-extended beyond them, or 0, loses nothing.
    private static bool IsInTagRange(ulong address, bool isGuestPhysical) =>
        isGuestPhysical ? address >> 59 == 0 : (ulong)((long)(address << 5) >> 5) == address;

    private bool WalkStages(
        Configuration configuration, ref Request request, in DeviceContextData device, in FirstStage stage, ref Outcome outcome)
    {
        StageStatus status = WalkFirstStage(configuration, ref request, device, stage, out outcome.First);
        if (status != StageStatus.Success)
        {
            return Fail(ref request, CauseOf(status, request));
        }

        outcome.GuestAddress = outcome.First.Address;
        if (TouchesInterruptFile(device, outcome.GuestAddress, 12))
        {
            if (!TranslateMsi(configuration, ref request, device, ref outcome))
            {
                return false;
            }
        }
        else
        {
            SecondStageAccess access = new()
            {
                IsRead = request.IsRead,
                IsWrite = request.IsWrite,
                IsExecute = request.IsExecute,
                CheckPermissions = request.CheckPermissions,
            };
            status = WalkSecondStage(configuration, ref request, device, outcome.GuestAddress, access, out outcome.Second);
            if (status != StageStatus.Success)
            {
                if (status == StageStatus.GuestPageFault)
                {
                    request.Iotval2 = outcome.GuestAddress & ~3ul;
                }

                return Fail(ref request, CauseOf(status, request));
            }

            outcome.Second.SizeLog2 = SizeWithoutInterruptFiles(device, outcome.GuestAddress, outcome.Second.SizeLog2);
            outcome.Second.SpanLog2 = SizeWithoutInterruptFiles(device, outcome.GuestAddress, outcome.Second.SpanLog2);
            outcome.Address = outcome.Second.Address;
        }

        // The first stage's memory type wins unless it is PMA (Svpbmt).
        outcome.Pbmt = outcome.First.Pbmt != 0 ? outcome.First.Pbmt : outcome.Second.Pbmt;
        outcome.SizeLog2 = Math.Min(outcome.First.SizeLog2, outcome.Second.SizeLog2);
        outcome.SpanLog2 = Math.Min(outcome.First.SpanLog2, outcome.Second.SpanLog2);
        outcome.ReturnsGuestAddress = request.Kind == DmaKind.TranslationRequest
            && device.Has(DeviceTranslationControl.T2gpaBit);
        return true;
    }

    private static FaultCause CauseOf(StageStatus status, in Request request) => status switch
    {
        StageStatus.PageFault when request.IsExecute => FaultCause.InstructionPageFault,
        StageStatus.PageFault when request.IsRead => FaultCause.ReadPageFault,
        StageStatus.PageFault => FaultCause.WritePageFault,
        StageStatus.AccessFault when request.IsExecute => FaultCause.InstructionAccessFault,
        StageStatus.AccessFault when request.IsRead => FaultCause.ReadAccessFault,
        StageStatus.AccessFault => FaultCause.WriteAccessFault,
        StageStatus.GuestPageFault => GuestPageFault(request),
        _ => FaultCause.PageTableDataCorruption,
    };

    private static FaultCause GuestPageFault(in Request request) =>
        request.IsExecute ? FaultCause.InstructionGuestPageFault
        : request.IsRead ? FaultCause.ReadGuestPageFault
        : FaultCause.WriteGuestPageFault;

    private DmaTranslation Complete(in Request request, in Outcome outcome)
    {
        DmaTranslationFlags flags = outcome.IsMsi || outcome.IsMrif ? DmaTranslationFlags.Interrupt : 0;
        if (request.Kind == DmaKind.TranslationRequest)
        {
            flags |= AtsFlags(request, outcome);
        }

        return new(
            new(outcome.ReturnsGuestAddress && !outcome.IsMrif ? outcome.GuestAddress : outcome.Address),
            DmaStatus.Success,
            (byte)outcome.SizeLog2,
            (byte)outcome.Pbmt,
            flags,
            outcome.IsMrif ? MakeTarget(outcome) : null);
    }

    // Fields of an ATS translation completion (section 2.6).
    private DmaTranslationFlags AtsFlags(in Request request, in Outcome outcome)
    {
        ulong both = outcome.First.Pte & outcome.Second.Pte;
        DmaTranslationFlags flags = 0;
        bool read = (both & PageTableEntry.ReadBit) != 0;
        flags |= read ? DmaTranslationFlags.Read : 0;
        bool dirty = (both & PageTableEntry.DirtyBit) != 0
            && ((outcome.First.WasDirty && outcome.Second.WasDirty)
                || (Options.Deviations & ReferenceDeviations.AtsWriteNeedsOldDirty) == 0);
        flags |= (both & PageTableEntry.WriteBit) != 0 && dirty ? DmaTranslationFlags.Write : 0;
        flags |= read && request.ExecuteRequested && (both & PageTableEntry.ExecuteBit) != 0 ? DmaTranslationFlags.Execute : 0;
        flags |= request.HadProcess && request.PrivilegedRequested ? DmaTranslationFlags.Privileged : 0;
        flags |= request.HadProcess && !outcome.IsMsi && outcome.First.Has(PageTableEntry.GlobalBit) ? DmaTranslationFlags.Global : 0;
        flags |= outcome.IsMrif ? DmaTranslationFlags.UntranslatedOnly : 0;
        flags |= request.Cxl && (outcome.Pbmt != 0 || outcome.IsMsi || outcome.ReturnsGuestAddress) ? DmaTranslationFlags.CxlIo : 0;
        return flags;
    }

    // How a fault is answered, and whether it is reported (section 2.6).
    private static DmaStatus Answer(in Request request, out bool report)
    {
        report = true;
        if (request.Kind != DmaKind.TranslationRequest)
        {
            return DmaStatus.UnsupportedRequest;
        }

        switch (request.Cause)
        {
            case FaultCause.AllInboundDisallowed or FaultCause.DdtEntryLoadAccessFault or FaultCause.DdtEntryNotValid
                or FaultCause.DdtEntryMisconfigured or FaultCause.TransactionTypeDisallowed:
                return DmaStatus.UnsupportedRequest;
            case FaultCause.InstructionPageFault or FaultCause.ReadPageFault or FaultCause.WritePageFault
                or FaultCause.InstructionGuestPageFault or FaultCause.ReadGuestPageFault or FaultCause.WriteGuestPageFault
                or FaultCause.PdtEntryNotValid or FaultCause.MsiPteNotValid:
                report = false;
                return DmaStatus.Success;
            default:
                return DmaStatus.CompleterAbort;
        }
    }
}
