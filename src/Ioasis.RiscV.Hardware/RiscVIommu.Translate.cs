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
        request.DeviceId = dma.Device.Value;
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

        if (!LocateDevice(configuration, ref request, out DeviceContextData device))
        {
            return false;
        }

        request.DisableFaults = device.Has(DeviceTranslationControl.DisableTranslationFaultsBit);
        if (!IsAllowed(request, device))
        {
            return Fail(ref request, FaultCause.TransactionTypeDisallowed);
        }

        // Steps 8 and 9.
        bool t2gpa = device.Has(DeviceTranslationControl.T2gpaBit);
        if (request.Kind == DmaKind.Translated && !t2gpa)
        {
            outcome.Address = request.Iova;
            return true;
        }

        if (!LocateFirstStage(configuration, ref request, device, out FirstStage stage))
        {
            return false;
        }

        return TranslateStages(configuration, ref request, device, stage, ref outcome);
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
        Configuration configuration, ref Request request, in DeviceContextData device, out FirstStage stage)
    {
        stage = default;
        if (request.Kind == DmaKind.Translated)
        {
            // The address is a guest physical one already.
        }
        else if (!device.Has(DeviceTranslationControl.PdtValidBit))
        {
            stage.Iosatp = device.FirstStageContext;
            request.Pscid = (uint)(device.TranslationAttributes >> DeviceTranslationAttributes.PscidShift)
                & (uint)DeviceTranslationAttributes.PscidMask;
        }
        else
        {
            if (!request.HasProcess && device.Has(DeviceTranslationControl.DefaultProcessBit))
            {
                request.HasProcess = true;
                request.ProcessId = 0;
                request.PrivilegedRequested = false;
            }

            if (request.HasProcess && TablePointer.Mode(device.FirstStageContext) != Pdtp.ModeBare)
            {
                if (!WalkProcessDirectory(configuration, ref request, device, out ProcessContextData process))
                {
                    return false;
                }

                if (request.PrivilegedRequested && !process.Has(ProcessTranslationAttributes.EnableSupervisorBit))
                {
                    return Fail(ref request, FaultCause.TransactionTypeDisallowed);
                }

                stage.Iosatp = process.FirstStageContext;
                stage.SupervisorUserMemory = process.Has(ProcessTranslationAttributes.SupervisorUserMemoryBit);
                request.Pscid = (uint)(process.TranslationAttributes >> ProcessTranslationAttributes.PscidShift)
                    & (uint)ProcessTranslationAttributes.PscidMask;
            }
        }

        request.HasPscid = !stage.IsBare;
        request.Pscid = request.HasPscid ? request.Pscid : 0;
        request.HasGscid = device.HasSecondStage;
        request.Gscid = request.HasGscid ? device.Gscid : 0;
        return true;
    }

    // Steps 17 to 20.
    private bool TranslateStages(
        Configuration configuration, ref Request request, in DeviceContextData device, in FirstStage stage, ref Outcome outcome)
    {
        CountEvent(request, HpmEvent.TlbMiss);
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
        DmaTranslationFlags flags = (outcome.IsMsi ? DmaTranslationFlags.Msi : 0)
            | (outcome.IsMrif ? DmaTranslationFlags.Mrif : 0);
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
            outcome.IsMrif ? new(new(outcome.MrifAddress), new(outcome.NoticeAddress), outcome.NoticeId) : null);
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
