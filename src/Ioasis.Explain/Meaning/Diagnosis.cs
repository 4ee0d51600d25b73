using System.Globalization;

namespace Ioasis.Explain.Meaning;

/// <summary>Gathers likely causes, the likeliest first: what a recording proves, then what the address tells, then what the reason allows.</summary>
internal sealed class Diagnosis
{
    private readonly List<string> _causes = [];
    private readonly List<string> _tries = [];

    /// <summary>The causes.</summary>
    public IReadOnlyList<string> Causes => _causes;

    /// <summary>What to try.</summary>
    public IReadOnlyList<string> Tries => _tries;

    /// <summary>Adds what a group of faults suggests.</summary>
    public void Add(FaultGroup group, AddressLook look, LogMachine machine, IReadOnlyList<IovaHistory> histories)
    {
        Fault fault = group.First;
        // Faults that the IOMMU reports alike can come from different mistakes.
        foreach (IovaHistory history in histories.DistinctBy(static history => history.Verdict))
        {
            ByHistory(fault, history);
        }

        ByLook(fault, look);
        ByMachine(group, machine);
        ByKind(group, isRecorded: histories.Count > 0);
    }

    private static bool IsPage(FaultKind kind) => kind is FaultKind.NotMapped or FaultKind.Denied or FaultKind.NotMappedOrDenied;

    private static string Verb(Fault fault) => fault.Access == FaultAccess.Write ? "wrote" : "read";

    private void Cause(string text)
    {
        if (!_causes.Contains(text, StringComparer.Ordinal))
        {
            _causes.Add(text);
        }
    }

    private void Try(string text)
    {
        if (!_tries.Contains(text, StringComparer.Ordinal))
        {
            _tries.Add(text);
        }
    }

    private void ByHistory(Fault fault, IovaHistory history)
    {
        if (!IsPage(fault.Kind) && fault.Kind is not FaultKind.AddressTooWide)
        {
            return;
        }

        switch (history.Verdict)
        {
            case HistoryVerdict.UseAfterUnmap:
                Cause("Use after unmap: the driver unmapped (or freed) the buffer while the device still had it. " + history.Text);
                Try("Stop the device's queue, and wait until it says that it is idle, before the unmap; look for an error or time-out path that unmaps early.");
                break;
            case HistoryVerdict.PastEnd:
                Cause("The device went past the end of a buffer. " + history.Text);
                Try("Compare the length that was mapped with the length that the descriptor tells the device; devices that read ahead need a page more.");
                break;
            case HistoryVerdict.BeforeStart:
                Cause("The device went before the start of a buffer: a negative offset, or a base that was rounded up. " + history.Text);
                break;
            case HistoryVerdict.Mapped:
                Cause($"Direction: the buffer is mapped, and the device {Verb(fault)} it, for which it is not. " + history.Text);
                Try(fault.Access == FaultAccess.Write
                    ? "Map it with DMA_FROM_DEVICE or DMA_BIDIRECTIONAL (VFIO: VFIO_DMA_MAP_FLAG_WRITE, iommufd: IOMMU_IOAS_MAP_WRITEABLE)."
                    : "Map it with DMA_TO_DEVICE or DMA_BIDIRECTIONAL (VFIO: VFIO_DMA_MAP_FLAG_READ, iommufd: IOMMU_IOAS_MAP_READABLE).");
                break;
            case HistoryVerdict.MappedLater:
                Cause("The device was started before its buffer was mapped. " + history.Text);
                Try("Write the doorbell only after the map has returned, with a write barrier between descriptor and doorbell.");
                break;
            case HistoryVerdict.OtherDevice:
                Cause("The address is another device's: IOVAs of one device mean nothing to another. " + history.Text);
                break;
            case HistoryVerdict.UpperBitsLost:
                Cause("The upper 32 bits of the address were lost or replaced. " + history.Text);
                Try("Look for a 32-bit variable or register field that carries the address, and for dma_set_mask() that promises more bits than the device has.");
                break;
            case HistoryVerdict.BytesSwapped:
                Cause("The address was written in the wrong byte order. " + history.Text);
                Try("Use cpu_to_le64() (or what the device wants) for addresses in descriptors.");
                break;
            default:
                Cause("The address was never mapped for this device: it comes from something other than the DMA API (a physical or virtual address, a stale or uninitialised descriptor).");
                break;
        }
    }

    private void ByLook(Fault fault, AddressLook look)
    {
        switch (look)
        {
            case AddressLook.Null:
                Cause("A descriptor or register whose address was never written: the device used 0.");
                Try("Check the order: all of a descriptor must be written (and dma_wmb() made) before the device is told of it.");
                break;
            case AddressLook.MappingError:
                Cause("A failed map: the driver did not check dma_mapping_error().");
                Try("Build the kernel with CONFIG_DMA_API_DEBUG=y: it names the driver's line.");
                break;
            case AddressLook.Poison:
                Cause("Freed or uninitialised memory was read for the address: use after free in the driver.");
                Try("Build the kernel with KASAN, and boot with slub_debug=FZPU.");
                break;
            case AddressLook.InterruptRange when fault.Source is FaultSource.Intel or FaultSource.Amd:
                Cause("The device accessed the interrupt message range as memory: a wrong MSI address, an MSI of a length other than 4 bytes, or interrupts while remapping was being set up.");
                break;
            case AddressLook.KernelVirtual:
                Cause("The driver gave the device a pointer in place of a DMA address.");
                Try("Use what dma_map_*() or dma_alloc_coherent() returned (its dma_handle, not its pointer).");
                break;
            case AddressLook.UserVirtual:
                Cause("A program's pointer was given to the device as an IOVA.");
                Try("Map the buffer (VFIO_IOMMU_MAP_DMA, IOMMU_IOAS_MAP) and use its IOVA, or bind the process by PASID (SVA).");
                break;
            case AddressLook.SignExtended:
                Cause("A 32-bit address went through a signed int on its way to the device.");
                Try("Use dma_addr_t or u64 all the way; look for int, long on 32 bits, and << without a cast.");
                break;
            case AddressLook.PhysicalMemory:
                Cause("A physical address was used as an IOVA: a driver, a BIOS or a device's firmware that does not know of the IOMMU.");
                Try("Replace virt_to_phys() and the like by the DMA API; to see whether that is it, boot with iommu=pt (identity for the kernel's devices).");
                break;
            case AddressLook.FirmwareRegion:
                Cause("Firmware's region: the device still works for the BIOS (USB legacy, graphics, management), and the region is not mapped in its new domain.");
                Try("Update the BIOS; switch off USB legacy support; check that the device's RMRR is in the DMAR table with the right device scope.");
                break;
            case AddressLook.DeviceRegister:
                Cause("DMA from device to device (peer-to-peer) without a mapping of the other's registers.");
                Try("Map the peer by dma_map_resource() or the kernel's P2PDMA (VFIO: VFIO_DEVICE_FEATURE_DMA_BUF).");
                break;
            default:
                break;
        }
    }

    private void ByMachine(FaultGroup group, LogMachine machine)
    {
        Fault fault = group.First;
        if (fault.Device is not { } device || machine.Functions.Count == 0 || machine.Functions.ContainsKey(device) || !device.Contains('.', StringComparison.Ordinal))
        {
            return;
        }

        string zero = string.Create(CultureInfo.InvariantCulture, $"{device[..^1]}0");
        if (machine.Functions.ContainsKey(zero))
        {
            Cause($"{device} does not exist; {zero} does: the device uses another function's requester ID (a phantom function).");
            Try($"The kernel needs a quirk for {zero} ({machine.Functions[zero]}): see quirk_dma_func0_alias and quirk_dma_func1_alias.");
        }
        else
        {
            Cause($"{device} is no PCI function that the kernel found: a device behind a bridge that takes its requests over, or one that firmware hides.");
            Try("Look with lspci -tv which bridge has the bus; a PCIe-to-PCI bridge gives its own ID to what is behind it.");
        }
    }

    // A recording has said already what became of the address.
    private void ByKind(FaultGroup group, bool isRecorded)
    {
        Fault fault = group.First;
        switch (fault.Kind)
        {
            case FaultKind.NotMapped or FaultKind.NotMappedOrDenied:
                if (!isRecorded)
                {
                    Cause("The buffer was unmapped or freed while the device still used it.");
                    Cause("The device went beyond a buffer's end, or used a stale descriptor.");
                    if (fault.Kind == FaultKind.NotMappedOrDenied)
                    {
                        Cause($"The buffer is mapped in the other direction, and the device {Verb(fault)} it.");
                    }

                    Try("Record the run and give the recording here: ioasis record -o FILE, then ioasis explain --trace FILE LOG names the mapping.");
                }

                if (group.Pages > 2)
                {
                    Cause($"{group.Pages} different pages fault: the device's whole domain may be another one (reset, unplug, driver change, kexec with DMA under way).");
                }

                Try("Build the kernel with CONFIG_DMA_API_DEBUG=y; boot with iommu.strict=1 to see whether the fault comes earlier.");
                break;
            case FaultKind.Denied:
                Cause($"The page is mapped in the other direction, and the device {Verb(fault)} it.");
                Try("Check the direction (DMA_TO_DEVICE, DMA_FROM_DEVICE) or the protection (READ, WRITE flags) of the map.");
                break;
            case FaultKind.AddressTooWide:
                Cause("The driver's DMA mask has more bits than the IOMMU translates, or the address is garbage.");
                Try("Compare dma_set_mask() with the width that the IOMMU prints at boot; a guest may need a wider virtual IOMMU (aw-bits=48).");
                break;
            case FaultKind.DeviceUnknown:
                Cause("DMA of a device that no driver owns: left running by firmware, by a kernel before kexec, or after its driver was unbound.");
                Cause("The device's requester ID is another than firmware tables (DMAR, IVRS, IORT, device tree) say.");
                Try("See which device it is (lspci, or the stream ID in iommus=); reset it, or clear its bus-master bit, before it is handed over.");
                break;
            case FaultKind.RequestRefused:
                Cause("ATS, PRI or PASID is switched on in the device and not in the IOMMU, or the other way round.");
                Try("Compare lspci -vv (ATSCtl, PRICtl, PASIDCtl) with the kernel's messages; boot with pci=noats to see whether ATS is it.");
                break;
            case FaultKind.PasidUnknown:
                Cause("The process or guest that had this PASID is gone and the device was not stopped, or a descriptor has a wrong PASID.");
                Try("Drain the device's queue before the PASID is detached; check which process was bound (iommu_sva_bind_device).");
                break;
            case FaultKind.TableError:
                Cause("The IOMMU's tables in memory were overwritten or are wrong: a driver's stray write, a kernel fault, or bad memory.");
                Try("Check the machine for memory errors (EDAC, mcelog); give the snapshot of the tables with the report to the kernel's developers.");
                break;
            case FaultKind.Interrupt:
                Cause("The device's MSI registers do not hold what the kernel gave it: written by a guest, by firmware, or lost in a reset or in a low-power state.");
                Cause("Interrupts of a device that the kernel does not know (hidden by firmware, or behind a controller that remaps by itself).");
                Try("After a reset, restore MSI state (pci_restore_msi_state); as a test, boot with intremap=off (Intel) or amd_iommu_intr=legacy.");
                break;
            case FaultKind.Command:
                Cause(fault.Device is { } device
                    ? $"{device} did not answer an invalidation of its translation cache (ATS): it hangs, sleeps, or was removed."
                    : "A device with ATS did not answer, or the IOMMU's queue is stopped by an earlier error.");
                Try("Look for messages of the device itself before this line; boot with pci=noats to see whether ATS is it.");
                break;
            case FaultKind.CacheConflict:
                Cause("The kernel changed a mapping without the invalidation that must come before (break-before-make).");
                break;
            default:
                Cause("The reason is not one that the specification has: see the line itself.");
                break;
        }
    }
}
